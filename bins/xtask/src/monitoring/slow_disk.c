/* A disk that takes its time: preloaded, so that each fdatasync of the program takes 200 ms more. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    usleep(200 * 1000);
    return real(file);
}
