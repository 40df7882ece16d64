/* A parent and its child exchange integers through memory without a name, which the child inherits. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    int *numbers = mmap(NULL, 2 * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (numbers == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    numbers[0] = 42;

    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        printf("child reads: %d\n", numbers[0]);
        numbers[0] = 43;
        numbers[1] = -1;
        return 0;
    }
    int status;
    if (waitpid(child, &status, 0) < 0) {
        perror("waitpid");
        return 1;
    }
    printf("parent reads: %d %d\n", numbers[0], numbers[1]);
    return status != 0;
}
