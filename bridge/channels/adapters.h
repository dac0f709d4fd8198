/* SPDX-License-Identifier: MIT */
/*
 * adapters - the table of every adapter, and beside each its error table
 *
 * Only adapters.c lists them; the adapters include this to be held to their declarations.
 */
#ifndef TOCSIN_CHANNELS_ADAPTERS_H
#define TOCSIN_CHANNELS_ADAPTERS_H
#include "channels/adapter.h"
#include "channels/http_outcome.h"

extern const struct adapter adapter_webhook, adapter_twilio, adapter_bird, adapter_messagebird,
    adapter_vonage, adapter_fcm, adapter_apns, adapter_webpush, adapter_sendgrid, adapter_mailgun,
    adapter_ses, adapter_postmark, adapter_smtp, adapter_slack, adapter_teams, adapter_whatsapp;
extern const struct error_table webhook_errors, twilio_errors, bird_errors, messagebird_errors,
    vonage_errors, fcm_errors, apns_errors, webpush_errors, sendgrid_errors, mailgun_errors,
    ses_errors, postmark_errors, smtp_errors, slack_errors, teams_errors, whatsapp_errors;
/* Adapters that send nothing: one per channel. */
extern const struct adapter adapter_log_push, adapter_log_sms, adapter_log_email, adapter_log_chat,
    adapter_log_webhook;

/* An adapter's own error table by its name; NULL when it has none. */
const struct error_table *adapter_errors(const char *name);

#endif
