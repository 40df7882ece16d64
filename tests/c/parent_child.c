/* A parent and its child share a file: the classic first program about mmap.
 *
 *   parent_child FILE
 *
 * The child prints what is at the start of the file and writes there; the parent prints that and answers at 64. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 4096

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: parent_child FILE\n");
        return 2;
    }
    int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, SIZE) < 0) {
        perror(argv[1]);
        return 1;
    }
    char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    close(fd);

    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        printf("child reads: %s\n", memory);
        strcpy(memory, "written by the child");
        return 0;
    }
    int status;
    if (waitpid(child, &status, 0) < 0) {
        perror("waitpid");
        return 1;
    }
    printf("parent reads: %s\n", memory);
    strcpy(memory + 64, "written by the parent");
    if (munmap(memory, SIZE) < 0) {
        perror("munmap");
        return 1;
    }
    return status != 0;
}
