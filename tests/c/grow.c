/* Makes a mapped file longer, and writes at its new end.
 *
 *   grow FILE SIZE TEXT
 *
 * Then it prints what others wrote at offset 0, through the mapping that mremap gave. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: grow FILE SIZE TEXT\n");
        return 2;
    }
    size_t size = strtoul(argv[2], NULL, 10), length = strlen(argv[3]) + 1;
    int fd = open(argv[1], O_RDWR);
    struct stat found;
    if (fd < 0 || fstat(fd, &found) < 0) {
        perror(argv[1]);
        return 1;
    }
    size_t old = (size_t)found.st_size;
    char *memory = mmap(NULL, old, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    if (size < length || ftruncate(fd, (off_t)size) < 0) {
        perror("ftruncate");
        return 1;
    }
    memory = mremap(memory, old, size, MREMAP_MAYMOVE);
    if (memory == MAP_FAILED) {
        perror("mremap");
        return 1;
    }
    strcpy(memory + size - length, argv[3]);
    printf("%s\n", memory);
    return 0;
}
