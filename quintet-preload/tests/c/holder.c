/* A program without the drop-in, also statically linked: it says that it is there, and ends when it is told to. */
#include <unistd.h>

int main(void) {
    char byte = 0;
    if (write(1, &byte, 1) != 1) return 1;
    return read(0, &byte, 1) == 1 ? 0 : 1;
}
