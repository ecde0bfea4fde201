/*
 * button: presses the virtual NAS's buttons at exact times and watches what comes of it.
 *
 *   button gpio STEP…            the line reset-button of the chip button-panel (active low)
 *   button input DEVICE KEY STEP…   a key of one of the devices that `button devices` keeps
 *   button devices               stays resident: owns the uinput devices, serves `button input`
 *   button edges CHIP OFFSET     prints the line's edges as the kernel reports them
 *   button stamp                 copies its input to its output, each line behind the time it came
 *   button watch FOLDER          prints each change to the folder's files behind its time
 *   button now                   prints the time
 *
 * STEP: a letter and milliseconds. P press and stay, R release and stay; for an input device also H press and repeat
 * as an autorepeating keyboard does, G unplug, B plug in again. Each step prints `<letter> <before> <after>`: the
 * change happened between the two. All times are nanoseconds of CLOCK_MONOTONIC; a step lasts from its `before`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <linux/input.h>
#include <linux/uinput.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PULL "/run/button-panel/pull"
#define SOCKET "/run/button-panel/input.sock"
#define MS 1000000LL

static void die(const char *what)
{
	fprintf(stderr, "button: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static void sleep_until(int64_t at)
{
	struct timespec t = { at / (1000 * MS), at % (1000 * MS) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* ---- the GPIO line ---- */

static void pull(int file, const char *how)
{
	if (pwrite(file, how, strlen(how), 0) < 0)
		die(PULL);
}

static int gpio(int count, char **steps)
{
	int file = open(PULL, O_WRONLY | O_CLOEXEC);

	if (file < 0)
		die(PULL);
	for (int i = 0; i < count; i++) {
		int64_t before = now();

		pull(file, steps[i][0] == 'P' ? "pull-down" : "pull-up");
		printf("%c %lld %lld\n", steps[i][0], (long long)before, (long long)now());
		fflush(stdout);
		sleep_until(before + atoll(steps[i] + 1) * MS);
	}
	return 0;
}

static int edges(const char *chip, int offset)
{
	struct gpioevent_request request = {
		.lineoffset = offset,
		.handleflags = GPIOHANDLE_REQUEST_INPUT,
		.eventflags = GPIOEVENT_REQUEST_BOTH_EDGES,
		.consumer_label = "button edges",
	};
	struct gpioevent_data event;
	int file = open(chip, O_RDWR | O_CLOEXEC);

	if (file < 0 || ioctl(file, GPIO_GET_LINEEVENT_IOCTL, &request) < 0)
		die(chip);
	puts("ready");
	fflush(stdout);
	while (read(request.fd, &event, sizeof event) == sizeof event) {
		printf("%s %llu\n", event.id == GPIOEVENT_EVENT_RISING_EDGE ? "rising" : "falling", (unsigned long long)event.timestamp);
		fflush(stdout);
	}
	return 1;
}

/* ---- input devices ---- */

struct device {
	const char *name;
	int keys[4]; /* ends with 0 */
	int file; /* -1: unplugged */
};

/* As on real boards: one where reset is alone, one where power and copy share the device with it. */
static struct device devices[] = {
	{ "gpio-keys", { KEY_RESTART }, -1 },
	{ "nas-keys", { KEY_POWER, KEY_COPY, KEY_RESTART }, -1 },
};

static void plug(struct device *device)
{
	struct uinput_setup setup = { .id = { .bustype = BUS_HOST } };

	if (device->file >= 0)
		return;
	device->file = open("/dev/uinput", O_WRONLY | O_CLOEXEC);
	if (device->file < 0)
		die("/dev/uinput");
	ioctl(device->file, UI_SET_EVBIT, EV_KEY);
	for (int *key = device->keys; *key; key++)
		ioctl(device->file, UI_SET_KEYBIT, *key);
	strcpy(setup.name, device->name);
	if (ioctl(device->file, UI_DEV_SETUP, &setup) < 0 || ioctl(device->file, UI_DEV_CREATE) < 0)
		die(device->name);
}

static void unplug(struct device *device)
{
	if (device->file >= 0)
		close(device->file);
	device->file = -1;
}

static void send_key(struct device *device, int key, int value)
{
	struct input_event events[2] = {
		{ .type = EV_KEY, .code = key, .value = value },
		{ .type = EV_SYN, .code = SYN_REPORT },
	};

	if (device->file >= 0 && write(device->file, events, sizeof events) != sizeof events)
		die(device->name);
}

static void input_step(struct device *device, int key, const char *step, FILE *reply)
{
	int64_t before = now(), end = before + atoll(step + 1) * MS;

	switch (step[0]) {
	case 'P':
	case 'H':
		send_key(device, key, 1);
		break;
	case 'R':
		send_key(device, key, 0);
		break;
	case 'G':
		unplug(device);
		break;
	case 'B':
		plug(device);
		break;
	}
	fprintf(reply, "%c %lld %lld\n", step[0], (long long)before, (long long)now());
	fflush(reply);
	for (int64_t at = before + 250 * MS; step[0] == 'H' && at < end; at += 33 * MS) {
		sleep_until(at);
		send_key(device, key, 2);
	}
	sleep_until(end);
}

/* One request: `DEVICE KEY STEP…` on a line; the reply ends when the connection does. */
static void answer(int connection)
{
	char line[4096] = { 0 }, name[64], *rest;
	int key, used;
	FILE *reply = fdopen(connection, "r+");

	if (!fgets(line, sizeof line, reply) || sscanf(line, "%63s %d%n", name, &key, &used) != 2) {
		fclose(reply);
		return;
	}
	fseek(reply, 0, SEEK_CUR);
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		if (strcmp(devices[i].name, name) != 0)
			continue;
		rest = line + used;
		for (char *step = strtok(rest, " \n"); step; step = strtok(NULL, " \n"))
			input_step(&devices[i], key, step, reply);
	}
	fclose(reply);
}

static int dial(int listening)
{
	struct sockaddr_un address = { AF_UNIX, SOCKET };
	int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listening)
		unlink(SOCKET);
	if (file < 0 || (listening ? bind : connect)(file, (struct sockaddr *)&address, sizeof address) < 0)
		die(SOCKET);
	if (listening && listen(file, 8) < 0)
		die(SOCKET);
	return file;
}

static void keep_devices(void)
{
	int listener = dial(1);

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
		plug(&devices[i]);
	for (;;) {
		int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (connection >= 0)
			answer(connection);
	}
}

static int key_code(const char *name)
{
	if (strcmp(name, "KEY_RESTART") == 0)
		return KEY_RESTART;
	if (strcmp(name, "KEY_POWER") == 0)
		return KEY_POWER;
	if (strcmp(name, "KEY_COPY") == 0)
		return KEY_COPY;
	return atoi(name);
}

static int input(const char *device, const char *key, int count, char **steps)
{
	int file = dial(0);
	char bytes[4096];
	ssize_t n;

	dprintf(file, "%s %d", device, key_code(key));
	for (int i = 0; i < count; i++)
		dprintf(file, " %s", steps[i]);
	dprintf(file, "\n");
	while ((n = read(file, bytes, sizeof bytes)) > 0)
		if (write(1, bytes, n) != n)
			return 1;
	return 0;
}

/* ---- watching ---- */

static int stamp(void)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, stdin) > 0) {
		printf("%lld %s", (long long)now(), line);
		fflush(stdout);
	}
	return 0;
}

static int watch(const char *folder)
{
	static char bytes[65536] __attribute__((aligned(8)));
	int file = inotify_init1(IN_CLOEXEC);
	ssize_t n;

	if (file < 0 || inotify_add_watch(file, folder, IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_DELETE | IN_CLOSE_WRITE) < 0)
		die(folder);
	puts("ready");
	fflush(stdout);
	while ((n = read(file, bytes, sizeof bytes)) > 0) {
		int64_t at = now();

		for (char *p = bytes; p < bytes + n; p += sizeof(struct inotify_event) + ((struct inotify_event *)p)->len) {
			struct inotify_event *event = (struct inotify_event *)p;
			const char *what = event->mask & IN_CREATE ? "create" : event->mask & IN_MOVED_TO ? "replace" :
					   event->mask & IN_DELETE ? "delete" : event->mask & IN_CLOSE_WRITE ? "close" : "write";

			printf("%lld %s %s\n", (long long)at, what, event->len ? event->name : ".");
		}
		fflush(stdout);
	}
	return 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "gpio") == 0 && argc > 2)
		return gpio(argc - 2, argv + 2);
	if (strcmp(what, "input") == 0 && argc > 4)
		return input(argv[2], argv[3], argc - 4, argv + 4);
	if (strcmp(what, "devices") == 0)
		keep_devices();
	if (strcmp(what, "edges") == 0 && argc == 4)
		return edges(argv[2], atoi(argv[3]));
	if (strcmp(what, "stamp") == 0)
		return stamp();
	if (strcmp(what, "watch") == 0 && argc == 3)
		return watch(argv[2]);
	if (strcmp(what, "now") == 0)
		return printf("%lld\n", (long long)now()) < 0;
	fputs("usage: see the top of button.c\n", stderr);
	return 2;
}
