/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "channels/bounce.h"

#define HARD    BOUNCE_HARD
#define UNKNOWN BOUNCE_NO_MAILBOX

static const struct {
    enum bounce_class class;
    const char *code, *text;
    bool is_proof;
} cases[] = {
    {HARD, "5.1.1", NULL, true},
    {HARD, "5.1.10", "550 5.1.10 null MX", true},
    {HARD, NULL, "smtp; 550 5.1.1 user unknown", true},
    {HARD, "5.1.1", "550 5.1.1 no such user 192.0.2.7", true},
    {HARD, "5.0.0", "550 5.1.1 no such user", true},
    {HARD, NULL, NULL, true}, /* the provider's word alone */
    {HARD, "5.0.0", "", true},
    {HARD, "5.7.1", NULL, false},
    {HARD, "5.1.1", "550 5.7.1 blocked", false}, /* a relay's code, another server's reason */
    {HARD, NULL, "550 JunkMail rejected - in an RBL", false},
    {HARD, NULL, "550 unbekannter Empfaenger", false}, /* a text that proves nothing */
    {HARD, NULL, "550 5.2.2 full", false},
    {UNKNOWN, NULL, NULL, true},
    {UNKNOWN, NULL, "550 No such user here", true},
    {UNKNOWN, NULL, "550 marble street: no such user", true}, /* no word begins with rbl */
    {UNKNOWN, NULL, "550 host 192.0.2.7 is in an RBL", false},
    {UNKNOWN, NULL, "550 Blocked by policy", false},
    {UNKNOWN, NULL, "smtp;550 5.7.1 refused", false},
    {UNKNOWN, NULL, "550 version 5.1.1.7 of the filter: user unknown",
     true}, /* no code: four parts */
    {UNKNOWN, NULL, "550 The email account that you tried to reach does not exist", true},
    {UNKNOWN, NULL, "550 sorry, no mailbox here by that name", true},
    {UNKNOWN, NULL, "550 <ann@b.example>: Recipient address rejected: User unknown", true},
    {UNKNOWN, NULL, "550 Unknown recipient", true},
    {UNKNOWN, NULL, "550 USER NOT FOUND", true},
    {UNKNOWN, NULL, "550 No such user in this domain", true},
    {HARD, NULL, "550 no such user", false}, /* no class that means so */
    {UNKNOWN, NULL, "550 Administrative prohibition", false},
    {UNKNOWN, NULL, "550 content restrictions", false},
    {UNKNOWN, NULL, "550 Access denied - Invalid HELO name", false},
    {UNKNOWN, NULL, "550 Message content rejected", false},
    {UNKNOWN, NULL, "550 Sender rejected", false},
    {UNKNOWN, NULL, "550 not authorized to send", false},
    {UNKNOWN, NULL, "550 IP 192.0.2.7 is listed at a list", false},
    {UNKNOWN, NULL, "550 ip in prison", false},
    {UNKNOWN, NULL, "550 poor standing", false},
    {UNKNOWN, NULL, "550 Denied (Mode: normal)", false},
    {UNKNOWN, NULL, "550 Phishing URL found", false},
    {UNKNOWN, NULL, "550 malware", false},
    {UNKNOWN, NULL, "554 too many hops", false},
    {UNKNOWN, NULL, "552 Mailbox full", false},
    {UNKNOWN, NULL, "552 over quota", false},
    {UNKNOWN, NULL, "550 marble street is empty", false},
    {UNKNOWN, NULL, "550 refused", false},
    {UNKNOWN, NULL, "550 Sender address: user unknown", false},
    {UNKNOWN, NULL, "550 the domain example.org does not exist", false},
    {UNKNOWN, NULL, "535 unknown username", false},
    {UNKNOWN, NULL, "550 user unknown or mailbox full", false},
    {UNKNOWN, "5.1.1", "550 administrative prohibition", true}, /* a code says it */
    {BOUNCE_OTHER, "5.1.1", "550 5.1.1 no such user", false},
};

static void a_bounce_is_a_proof_only_when_it_says_that_there_is_no_mailbox(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (bounce_is_proof(cases[i].class, cases[i].code, cases[i].text) != cases[i].is_proof)
            fail_msg("case %zu: %s %s", i, cases[i].code ? cases[i].code : "-",
                     cases[i].text ? cases[i].text : "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bounce_is_a_proof_only_when_it_says_that_there_is_no_mailbox),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
