/*
 * vm-agent: runs root's commands for the test harness, over a virtio serial port.
 *
 * It owes nothing to the network, to ssh, to PAM or to free disk space, so it answers whatever a scenario breaks.
 * Frame, both ways: type (1 byte), command number (4), length (4), payload; numbers little-endian.
 *   to the guest:  R run the payload with bash, I input, E end of input, K signal (payload: its number), P ping
 *   to the host:   O output, X error output, S exit status (payload: 4 bytes, 128+n for signal n), H here
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COMMANDS = 64, PAYLOAD = 1 << 20 };

struct frame {
	char type;
	uint32_t id;
	uint32_t length;
} __attribute__((packed));

struct command {
	pid_t pid; /* 0: free */
	uint32_t id;
	int in, out, err; /* -1: closed */
};

static struct command commands[COMMANDS];
static char payload[PAYLOAD + 1];
static int port;

static void all(int file, char *bytes, size_t length, int writing)
{
	while (length) {
		ssize_t n = writing ? write(file, bytes, length) : read(file, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 && !writing) { /* the host has gone: wait for it */
			usleep(10000);
			continue;
		}
		if (n < 0)
			exit(1);
		bytes += n;
		length -= n;
	}
}

static void tell(char type, uint32_t id, void *bytes, uint32_t length)
{
	struct frame frame = { type, id, length };

	all(port, (char *)&frame, sizeof frame, 1);
	all(port, bytes, length, 1);
}

static struct command *find(uint32_t id)
{
	for (int i = 0; i < COMMANDS; i++)
		if (commands[i].pid && commands[i].id == id)
			return &commands[i];
	return NULL;
}

static void child(int in, int out, int err)
{
	setsid();
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	execl("/bin/bash", "bash", "-c", payload, NULL);
	_exit(127);
}

static void run(uint32_t id)
{
	int in[2], out[2], err[2], i = 0;

	while (i < COMMANDS && commands[i].pid)
		i++;
	if (i == COMMANDS || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		exit(1);
	commands[i] = (struct command){ fork(), id, in[1], out[0], err[0] };
	if (commands[i].pid < 0)
		exit(1);
	if (commands[i].pid == 0)
		child(in[0], out[1], err[1]);
	close(in[0]);
	close(out[1]);
	close(err[1]);
}

static void serve(void)
{
	struct frame frame;
	struct command *command;

	all(port, (char *)&frame, sizeof frame, 0);
	if (frame.length > PAYLOAD)
		exit(1);
	all(port, payload, frame.length, 0);
	payload[frame.length] = 0;
	command = find(frame.id);
	if (frame.type == 'P')
		tell('H', frame.id, NULL, 0);
	else if (frame.type == 'R')
		run(frame.id);
	else if (!command)
		return; /* ended meanwhile */
	else if (frame.type == 'I' && command->in >= 0)
		all(command->in, payload, frame.length, 1);
	else if (frame.type == 'E' && command->in >= 0) {
		close(command->in);
		command->in = -1;
	} else if (frame.type == 'K')
		kill(-command->pid, atoi(payload));
}

/* Passes on what a command has written. A command ends when both its streams have ended. */
static void relay(struct command *command, int *file, char type)
{
	static char bytes[65536];
	ssize_t n = read(*file, bytes, sizeof bytes);

	if (n > 0) {
		tell(type, command->id, bytes, n);
		return;
	}
	close(*file);
	*file = -1;
	if (command->out < 0 && command->err < 0) {
		int status;
		uint32_t code;

		waitpid(command->pid, &status, 0);
		code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (command->in >= 0)
			close(command->in);
		command->pid = 0;
		tell('S', command->id, &code, sizeof code);
	}
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	port = argc == 2 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
	if (port < 0) {
		perror("vm-agent PORT");
		return 1;
	}
	tell('H', 0, NULL, 0);
	for (;;) {
		struct pollfd files[1 + 2 * COMMANDS] = { { port, POLLIN, 0 } };

		for (int i = 0; i < COMMANDS; i++) {
			files[1 + 2 * i] = (struct pollfd){ commands[i].pid ? commands[i].out : -1, POLLIN, 0 };
			files[2 + 2 * i] = (struct pollfd){ commands[i].pid ? commands[i].err : -1, POLLIN, 0 };
		}
		if (poll(files, 1 + 2 * COMMANDS, -1) < 0)
			continue;
		for (int i = 0; i < COMMANDS; i++) {
			if (files[1 + 2 * i].revents)
				relay(&commands[i], &commands[i].out, 'O');
			if (files[2 + 2 * i].revents)
				relay(&commands[i], &commands[i].err, 'X');
		}
		if (files[0].revents & POLLIN)
			serve();
		else if (files[0].revents)
			usleep(10000); /* nobody on the host's side */
	}
}
