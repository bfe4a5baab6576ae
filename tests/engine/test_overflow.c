/* A program with undefined behaviour and nothing else wrong: where its sanitizer is built in, it fails. */
#include <limits.h>

int main(int argc, char **argv) {
    (void)argv;
    volatile int most = INT_MAX;
    most = most + argc;
    return 0;
}
