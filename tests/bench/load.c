/* SPDX-License-Identifier: MIT */
/*
 * load - the load generator
 *
 *   load notify   --url U --secret-file F   requests, inboxes, acks, receipts
 *   load reconnect --url U --secret-file F --count N
 *                                           users who come at once
 *   load raw-mqtt --url U --secret-file F   what the broker alone can do
 *   load raw-pg   --postgres C              what Postgres alone can do
 *
 * Prints one JSON object.  Exits 0 when everything settled, 1 when something
 * did not, 2 on wrong usage, 3 when a connection failed.
 */
#include "options.h"
#include "raw.h"
#include "reconnect.h"
#include "traffic.h"

#define EXIT_USAGE 2

int main(int argc, char **argv)
{
    struct load_options o;

    if (options_parse(&o, argc, argv))
        return EXIT_USAGE;
    switch (o.mode) {
    case LOAD_RAW_MQTT:
        return (int)raw_mqtt_run(&o);
    case LOAD_RAW_PG:
        return (int)raw_pg_run(&o);
    case LOAD_RECONNECT:
        return (int)reconnect_run(&o);
    case LOAD_NOTIFY:
    default:
        return (int)traffic_run(&o);
    }
}
