/*
 * What xenstored is asked for in a measurement, the same requests whichever daemon answers:
 *   storebench fill N           makes N nodes, ten in each folder below /bench
 *   storebench transactions N   N times: start a transaction, write a node in it, commit it
 *   storebench clear            removes /bench
 * Ends with 1 and the daemon's answer when a request fails.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TRANSACTION_START = 6, TRANSACTION_END = 7, WRITE = 11, RM = 13, FAILED = 16 };

struct header {
    uint32_t type, request, transaction, length;
};

static int store;

static void whole(ssize_t done, size_t wanted)
{
    if (done != (ssize_t)wanted) {
        perror("storebench: xenstored");
        exit(1);
    }
}

/* Sends a request and waits for its answer, which is left in `answer` as a string. */
static void ask(uint32_t type, uint32_t transaction, const char *body, size_t length, char *answer)
{
    struct header header = { type, 0, transaction, length };
    char out[sizeof(header) + 256];

    memcpy(out, &header, sizeof(header));
    memcpy(out + sizeof(header), body, length);
    whole(write(store, out, sizeof(header) + length), sizeof(header) + length);
    whole(recv(store, &header, sizeof(header), MSG_WAITALL), sizeof(header));
    if (header.length > 4096)
        exit(1);
    whole(recv(store, answer, header.length, MSG_WAITALL), header.length);
    answer[header.length] = 0;
    if (header.type == FAILED) {
        fprintf(stderr, "storebench: request %u: %s\n", type, answer);
        exit(1);
    }
}

static void put(uint32_t transaction, int folder, int node)
{
    char body[64], answer[4097];
    int length = snprintf(body, sizeof(body), "/bench/%d/%d", folder, node) + 1;

    length += sprintf(body + length, "value %d", node);
    ask(WRITE, transaction, body, length, answer);
}

int main(int argc, char **argv)
{
    struct sockaddr_un name = { AF_UNIX, "/run/xenstored/socket" };
    int count = argc > 2 ? atoi(argv[2]) : 0;
    char answer[4097];

    store = socket(AF_UNIX, SOCK_STREAM, 0);
    if (argc < 2 || connect(store, (struct sockaddr *)&name, sizeof(name))) {
        perror("storebench: /run/xenstored/socket");
        return 1;
    }
    if (!strcmp(argv[1], "fill"))
        for (int at = 0; at < count; at++)
            put(0, at / 10, at % 10);
    else if (!strcmp(argv[1], "clear"))
        ask(RM, 0, "/bench", sizeof("/bench"), answer);
    else
        for (int at = 0; at < count; at++) {
            ask(TRANSACTION_START, 0, "", 1, answer);
            uint32_t transaction = atoi(answer);
            put(transaction, 0, at % 10);
            ask(TRANSACTION_END, transaction, "T", 2, answer);
        }
    return 0;
}
