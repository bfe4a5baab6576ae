/* notify.h -- sd_notify(3) by hand: one datagram to the socket named by NOTIFY_SOCKET.
 *
 * Owns:    nothing.
 * Thread:  any.
 * Limits:  without that variable it does nothing. */
#pragma once
void cn_notify(const char *state); /* "READY=1", "STOPPING=1", "RELOADING=1", "WATCHDOG=1" */
