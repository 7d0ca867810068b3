/* Draws on the screen of a server by shared memory. Reads it back by shared memory and by the socket, and prints how many pixels match. */
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <X11/extensions/XShm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>

enum { WIDTH = 320, HEIGHT = 200 };

static XImage *shared(Display *display, XShmSegmentInfo *info)
{
	int screen = DefaultScreen(display);
	XImage *image = XShmCreateImage(display, DefaultVisual(display, screen), DefaultDepth(display, screen), ZPixmap, NULL, info, WIDTH, HEIGHT);
	info->shmid = shmget(IPC_PRIVATE, image->bytes_per_line * image->height, IPC_CREAT | 0600);
	if (info->shmid == -1) {
		perror("shmget");
		exit(1);
	}
	info->shmaddr = image->data = shmat(info->shmid, NULL, 0);
	info->readOnly = False;
	if (!XShmAttach(display, info)) {
		fputs("XShmAttach\n", stderr);
		exit(1);
	}
	XSync(display, False);
	return image;
}

static unsigned long colour(int x, int y)
{
	return (x * 7 + y * 131) & 0xff | (x * y & 0xff) << 8 | ((x ^ y) & 0xff) << 16;
}

int main(void)
{
	Display *display = XOpenDisplay(NULL);
	if (!display || !XShmQueryExtension(display)) {
		fputs("no display, or no MIT-SHM\n", stderr);
		return 1;
	}
	XShmSegmentInfo out, in;
	XImage *drawn = shared(display, &out), *read = shared(display, &in);
	Window root = DefaultRootWindow(display);
	GC gc = XCreateGC(display, root, 0, NULL);
	XSetSubwindowMode(display, gc, IncludeInferiors);
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++)
			XPutPixel(drawn, x, y, colour(x, y));
	XShmPutImage(display, root, gc, drawn, 0, 0, 0, 0, WIDTH, HEIGHT, False);
	XSync(display, False);
	XShmGetImage(display, root, read, 0, 0, AllPlanes);
	XImage *shown = XGetImage(display, root, 0, 0, WIDTH, HEIGHT, AllPlanes, ZPixmap);
	struct shmid_ds stat;
	shmctl(out.shmid, IPC_STAT, &stat);
	int same = 0, through = 0;
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++) {
			same += (XGetPixel(read, x, y) & 0xffffff) == colour(x, y);
			through += (XGetPixel(shown, x, y) & 0xffffff) == colour(x, y);
		}
	printf("%d %d %d\n", same, through, (int)stat.shm_nattch);
	XShmDetach(display, &out);
	XShmDetach(display, &in);
	XSync(display, False);
	shmctl(out.shmid, IPC_STAT, &stat);
	printf("%d\n", (int)stat.shm_nattch);
	shmdt(out.shmaddr);
	shmdt(in.shmaddr);
	return shmctl(out.shmid, IPC_RMID, NULL) || shmctl(in.shmid, IPC_RMID, NULL);
}
