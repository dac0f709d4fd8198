/* SPDX-License-Identifier: MIT */
#include "refusal.h"

static const struct {
    const char *name, *text;
} refusals[REFUSAL_COUNT] = {
    [REFUSAL_NONE] = {"none", "accepted"},
    [REFUSAL_NO_TOKEN] = {"no_token", "the password field must carry a JWT"},
    [REFUSAL_TOO_LONG] = {"too_long", "the token is longer than max_token"},
    [REFUSAL_MALFORMED] = {"malformed",
                           "the password is not a compact JWS (three base64url parts)"},
    [REFUSAL_HEADER] = {"header", "the token's header has a field or a typ that is not accepted"},
    [REFUSAL_ALGORITHM] = {"algorithm", "the token's alg is not the one bound to its key"},
    [REFUSAL_KEY] =
        {"key", "no key has the token's kid (a key without one is for tokens without one), or the "
                "token has none and its issuer has several keys"},
    [REFUSAL_SIGNATURE] = {"signature", "the token's signature is wrong"},
    [REFUSAL_CLAIMS] = {"claims", "a claim is missing, doubled or of the wrong type"},
    [REFUSAL_ISSUER] = {"issuer", "iss is not the issuer configured for the key"},
    [REFUSAL_AUDIENCE] = {"audience", "aud does not name the audience configured"},
    [REFUSAL_EXPIRED] = {"expired", "the token has expired"},
    [REFUSAL_NOT_YET] = {"not_yet", "nbf or iat lies in the future"},
    [REFUSAL_LIFETIME] = {"lifetime", "the token is valid for longer than max_lifetime"},
    [REFUSAL_SUBJECT] = {"subject", "the id is missing, empty or longer than 128 bytes encoded"},
    [REFUSAL_KIND] = {"kind", "the token has no kind, or one its issuer may not vouch for"},
    [REFUSAL_ROLES] = {"roles", "a role does not fit"},
    [REFUSAL_USERNAME] = {"username", "the user name is neither empty nor the token's id"},
    [REFUSAL_CLIENT_ID] = {"client_id",
                           "the client id must be {kind}/{id} or {kind}/{id}/anything"},
    [REFUSAL_REVOKED] = {"revoked", "the token, its subject or its age has been revoked"},
    [REFUSAL_FOREIGN] = {"foreign", "a refresh must name the principal that is connected"},
    [REFUSAL_PRINCIPAL_CONNECTIONS] = {"principal_connections",
                                       "more than connections_per_principal at once"},
    [REFUSAL_ADDRESS_CONNECTIONS] = {"address_connections",
                                     "more than connections_per_address at once"},
    [REFUSAL_PRINCIPAL_SESSIONS] = {"principal_sessions",
                                    "the principal has left sessions_per_principal sessions "
                                    "behind: connect with a client id of one of them"},
    [REFUSAL_CONNECT_RATE] = {"connect_rate", "more connects than connect_rate from one address"},
    [REFUSAL_FAILURE_RATE] = {"failure_rate",
                              "more refused connects than failure_rate from one address"},
    [REFUSAL_NO_TICK] = {"no_tick", "the broker does not call the plugin's clock: "
                                    "per_listener_settings must be false"},
    [REFUSAL_INTERNAL] = {"internal", "out of memory or another internal failure"},
};

const char *refusal_name(enum refusal why)
{
    return why < REFUSAL_COUNT ? refusals[why].name : "internal";
}

const char *refusal_text(enum refusal why)
{
    return why < REFUSAL_COUNT ? refusals[why].text : "internal";
}
