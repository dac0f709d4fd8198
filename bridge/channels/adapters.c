/* SPDX-License-Identifier: MIT */
#include "channels/adapters.h"
#include <string.h>

static const struct adapter *const ADAPTERS[] = {&adapter_webhook,
                                                 &adapter_twilio,
                                                 &adapter_fcm,
                                                 &adapter_sendgrid,
                                                 &adapter_smtp,
                                                 &adapter_log_push,
                                                 &adapter_log_sms,
                                                 &adapter_log_email,
                                                 &adapter_log_chat,
                                                 &adapter_log_webhook,
                                                 NULL};

static const struct error_table *const TABLES[] = {&webhook_errors, &twilio_errors, &fcm_errors,
                                                   &sendgrid_errors, &smtp_errors};

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
