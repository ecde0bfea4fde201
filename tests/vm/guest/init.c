/* First process of the initramfs: loads the modules the root disk needs, mounts it, becomes its init. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	sleep(1); /* let the console drain before the kernel panics */
	exit(1);
}

/* /modules.list names the files in the order they depend on each other. */
static void load_modules(void)
{
	char name[256];
	FILE *list = fopen("/modules.list", "re");

	if (!list)
		die("/modules.list");
	while (fscanf(list, "%255s", name) == 1) {
		int file = open(name, O_RDONLY | O_CLOEXEC);

		if (file < 0 || syscall(SYS_finit_module, file, "", 0) != 0)
			die(name);
		close(file);
	}
	fclose(list);
}

static void await_disk(const char *path)
{
	struct timespec pause = { .tv_nsec = 5000000 };

	for (int i = 0; i < 2000 && access(path, F_OK) != 0; i++)
		nanosleep(&pause, NULL);
}

int main(void)
{
	const char *disk = "/dev/vda";

	if (mount("dev", "/dev", "devtmpfs", 0, NULL) != 0)
		die("devtmpfs");
	load_modules();
	await_disk(disk);
	if (mount(disk, "/root", "ext4", MS_NOATIME, NULL) != 0)
		die("root disk");
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) != 0)
		die("move /dev");
	if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0)
		die("switch root");
	execl("/sbin/init", "/sbin/init", NULL);
	die("/sbin/init");
}
