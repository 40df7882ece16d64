/* Prints, again and again, the string in a file that strangers write. It only looks; nobody can wake it.
 *
 *   reader FILE [INTERVAL_MS] */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE 4096

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: reader FILE [INTERVAL_MS]\n");
        return 2;
    }
    useconds_t interval = argc > 2 ? (useconds_t)atoi(argv[2]) * 1000 : 1000000;
    int fd = open(argv[1], O_RDONLY);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    const char *memory = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    close(fd);

    for (;;) {
        /* A pipe that nobody reads any more ends the program. */
        if (printf("%s\n", memory) < 0 || fflush(stdout) != 0) {
            perror("printf");
            return 1;
        }
        usleep(interval);
    }
}
