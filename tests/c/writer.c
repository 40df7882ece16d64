/* Alternates two words in a file that strangers map. It only stores; it never wakes anybody.
 *
 *   writer FILE [INTERVAL_MS] */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE 4096

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: writer FILE [INTERVAL_MS]\n");
        return 2;
    }
    useconds_t interval = argc > 2 ? (useconds_t)atoi(argv[2]) * 1000 : 1000000;
    int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    if (ftruncate(fd, SIZE) < 0) {
        perror("ftruncate");
        return 1;
    }
    char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    close(fd);

    for (;;) {
        strcpy(memory, "Hello");
        usleep(interval);
        strcpy(memory, "World");
        usleep(interval);
    }
}
