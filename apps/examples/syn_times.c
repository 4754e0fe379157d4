/* A test without a network: nobody answers; when does the SYN go again? */
#include <arpa/inet.h>
#include <millrace/testing.h>
#include <netinet/in.h>
#include <stdio.h>

int main(void) {
    char why[256], packet[2048];
    int64_t start, at;
    mr_test_network *network = mr_test_network_create(1);
    mr_context *client = mr_test_context_create(
        network, "[[port]]\ndevice = 'wire'\naddresses = ['10.0.0.1/24']", why, sizeof why);
    if (client == NULL) return fprintf(stderr, "%s\n", why), 1;

    struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(80)};
    inet_pton(AF_INET, "10.0.0.2", &nobody.sin_addr);
    int s = mr_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    mr_connect(s, (struct sockaddr *)&nobody, sizeof nobody);
    start = mr_test_now(network);
    mr_test_advance_to(network, start + 10 * (int64_t)1000000000);
    while (mr_test_take(client, packet, sizeof packet, &at) > 0)
        printf("after %4.1f s\n", (double)(at - start) / 1e9);

    mr_context_destroy(client);
    return mr_test_network_destroy(network);
}
