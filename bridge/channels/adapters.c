/* SPDX-License-Identifier: MIT */
#include "channels/adapters.h"
#include <string.h>

/* clang-format off */
static const struct adapter *const ADAPTERS[] = {
    &adapter_twilio, &adapter_bird, &adapter_messagebird, &adapter_vonage,
    &adapter_fcm, &adapter_apns, &adapter_webpush,
    &adapter_sendgrid, &adapter_mailgun, &adapter_ses, &adapter_postmark, &adapter_smtp,
    &adapter_slack, &adapter_teams, &adapter_whatsapp,
    &adapter_webhook,
    &adapter_log_sms, &adapter_log_push, &adapter_log_email, &adapter_log_chat,
    &adapter_log_webhook,
    NULL};

static const struct error_table *const TABLES[] = {
    &twilio_errors, &bird_errors, &messagebird_errors, &vonage_errors,
    &fcm_errors, &apns_errors, &webpush_errors,
    &sendgrid_errors, &mailgun_errors, &ses_errors, &postmark_errors, &smtp_errors,
    &slack_errors, &teams_errors, &whatsapp_errors,
    &webhook_errors};
/* clang-format on */

const struct adapter *adapter_find(const char *name)
{
    for (unsigned i = 0; ADAPTERS[i]; i++) {
        if (strcmp(ADAPTERS[i]->name, name) == 0)
            return ADAPTERS[i];
    }
    return NULL;
}

const struct adapter *const *adapter_all(void)
{
    return ADAPTERS;
}

const struct error_table *adapter_errors(const char *name)
{
    for (unsigned i = 0; i < sizeof TABLES / sizeof TABLES[0]; i++) {
        if (strcmp(TABLES[i]->adapter, name) == 0)
            return TABLES[i];
    }
    return NULL;
}
