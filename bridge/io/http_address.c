/* SPDX-License-Identifier: MIT */
#include "io/http_client_private.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

struct prefix4 {
    uint32_t network;
    int bits;
};

/* IANA's special-purpose registry: whatever is not globally reachable, and multicast. */
static bool is_public4(uint32_t address)
{
    static const struct prefix4 refused[] = {
        {0x00000000, 8},  /* this network */
        {0x0a000000, 8},  /* private */
        {0x64400000, 10}, /* carrier-grade NAT */
        {0x7f000000, 8},  /* loopback */
        {0xa9fe0000, 16}, /* link-local, and the clouds' metadata */
        {0xac100000, 12}, /* private */
        {0xc0000000, 24}, /* protocol assignments */
        {0xc0000200, 24}, /* documentation */
        {0xc0586300, 24}, /* 6to4 relays */
        {0xc0a80000, 16}, /* private */
        {0xc6120000, 15}, /* benchmarking */
        {0xc6336400, 24}, /* documentation */
        {0xcb007100, 24}, /* documentation */
        {0xe0000000, 4},  /* multicast */
        {0xf0000000, 4},  /* reserved, broadcast */
    };

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if ((address ^ refused[i].network) >> (32 - refused[i].bits) == 0)
            return false;
    return true;
}

static uint32_t read4(const unsigned char *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof value);
    return ntohl(value);
}

static bool starts_with(const unsigned char address[16], const unsigned char *prefix, int bits)
{
    int whole = bits / 8, rest = bits % 8;

    if (memcmp(address, prefix, (size_t)whole) != 0)
        return false;
    return rest == 0 || (address[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

static bool is_public6(const unsigned char address[16])
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const unsigned char nat64[12] = {0, 0x64, 0xff, 0x9b};
    static const struct {
        unsigned char prefix[4];
        int bits;
    } refused[] = {
        {{0x20, 0x01, 0x00, 0x00}, 23}, /* protocol assignments, Teredo, ORCHID */
        {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
        {{0x20, 0x02, 0x00, 0x00}, 16}, /* 6to4: any IPv4 address inside */
        {{0x3f, 0xff, 0x00, 0x00}, 20}, /* documentation */
    };

    if (memcmp(address, mapped, 12) == 0 || memcmp(address, nat64, 12) == 0)
        return is_public4(read4(address + 12));
    if (address[0] >> 5 != 1) /* only 2000::/3 is given out for use on the Internet */
        return false;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (starts_with(address, refused[i].prefix, refused[i].bits))
            return false;
    return true;
}

bool http_address_is_public(const struct sockaddr *address)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (address->sa_family == AF_INET) {
        memcpy(&in, address, sizeof in);
        return is_public4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        memcpy(&in6, address, sizeof in6);
        return is_public6(in6.sin6_addr.s6_addr);
    }
    return false;
}

bool http_address_text_is_public(const char *text)
{
    unsigned char bytes[16];

    if (inet_pton(AF_INET, text, bytes) == 1)
        return is_public4(read4(bytes));
    return inet_pton(AF_INET6, text, bytes) == 1 && is_public6(bytes);
}
