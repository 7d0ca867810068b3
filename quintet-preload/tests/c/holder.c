/* A program without the library, because it is statically linked: reports that it runs, and exits
   on command. */
#include <unistd.h>

int main(void) {
    char byte = 0;
    if (write(1, &byte, 1) != 1) return 1;
    return read(0, &byte, 1) == 1 ? 0 : 1;
}
