#include "server/net/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void cn_notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n == 0 || n >= sizeof to.sun_path || (*path != '/' && *path != '@'))
        return;
    memcpy(to.sun_path, path, n);
    if (*path == '@') /* an abstract name */
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    union { /* what sendto() takes is a sockaddr, whatever its kind */
        const struct sockaddr_un *un;
        const struct sockaddr *any;
    } addr = {&to};
    ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL, addr.any, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)sent; /* the service manager's loss, not ours */
    close(fd);
}
