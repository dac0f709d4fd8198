/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <inttypes.h>
#include <sys/resource.h>

double report_cpu_s(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void latency(FILE *out, const char *name, const struct histogram *h, const char *after)
{
    fprintf(out,
            "\"%s\":{\"count\":%" PRIu64 ",\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"max\":%.3f}%s",
            name, h->count, histogram_quantile_ms(h, 0.50), histogram_quantile_ms(h, 0.95),
            histogram_quantile_ms(h, 0.99), histogram_max_ms(h), after);
}

void report_ledger(FILE *out, const struct load_options *o, const struct ledger *l,
                   const struct report_extra *x)
{
    fprintf(out,
            "{\"mode\":\"notify\",\"channel\":\"%s\",\"users\":%u,\"services\":%u,\"batch\":%u,"
            "\"body_bytes\":%u,\"rate\":%.0f,\"window\":%u,\"seconds\":%.3f,",
            o->channel, o->users, o->services, o->batch, o->body_bytes, o->rate,
            o->rate > 0 || o->flood ? 0 : o->window, x->measured_s);
    fprintf(out,
            "\"sent\":%u,\"accepted\":%" PRIu64 ",\"arrived\":%" PRIu64 ",\"settled\":%" PRIu64
            ",\"dead\":%" PRIu64 ",\"rejected\":%" PRIu64 ",\"other\":%" PRIu64 ",\"lost\":%" PRIu64
            ",\"unarrived\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"receipts_again\":%" PRIu64
            ",\"strangers\":%" PRIu64 ",",
            l->count, l->accepted, l->arrived, l->finals[LEDGER_SETTLED], l->finals[LEDGER_DEAD],
            l->finals[LEDGER_REJECTED], l->finals[LEDGER_OTHER], l->open, l->unarrived,
            l->duplicates, l->again, l->strangers);
    fprintf(out, "\"settled_inside\":%" PRIu64 ",\"settled_per_s\":%.1f,\"latency_ms\":{",
            l->settled_inside, x->measured_s > 0 ? (double)l->settled_inside / x->measured_s : 0.0);
    latency(out, "accepted", &l->to_accepted, ",");
    latency(out, "inbox", &l->to_inbox, ",");
    latency(out, "settled", &l->to_settled, "},");
    fprintf(out,
            "\"acks\":%" PRIu64 ",\"receipt_messages\":%" PRIu64 ",\"refused\":%" PRIu64
            ",\"recvs\":%" PRIu64 ",\"sends\":%" PRIu64 ",\"cpu_s\":%.3f,"
            "\"first_reason\":\"%s\",\"fault\":\"%s\"}\n",
            x->acks, x->receipt_messages, x->refused, x->recvs, x->sends, report_cpu_s(),
            l->first_reason, x->fault);
    fflush(out);
}
