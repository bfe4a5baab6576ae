/* suites.h -- the suites of the search tests, each in the file of its name.
 *
 * Owns:    nothing; each suite makes and removes the data that it works on.
 * Thread:  one.
 * Limits:  for tests only. */
#pragma once
void add_filter_suite(void);
void add_mode_suite(void);
void add_gate_suite(void);
void add_frozen_suite(void);
void add_scrub_suite(void);
void add_upkeep_suite(void);
void add_view_suite(void);
void add_policy_suite(void);
void add_policy_next_suite(void);
void add_member_suite(void);
void add_key_suite(void);
void add_refusals_suite(void);
void add_explain_suite(void);
void add_find_suite(void);
void add_holding_suite(void);
void add_lexical_suite(void);
void add_asked_suite(void);
void add_seal_suite(void);
void add_settings_suite(void);
void add_compact_suite(void);
void add_tiers_suite(void);
void add_compact_switch_suite(void);
void add_erased_suite(void);
void add_space_suite(void);
void add_leftover_suite(void);
void add_pick_suite(void);
void add_recall_suite(void);
void add_world_suite(void);
extern unsigned long test_rounds, test_steps; /* how many random questions and steps; the arguments of the program */
