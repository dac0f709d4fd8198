/* SPDX-License-Identifier: MIT */
/*
 * jwks - JSON Web Key Sets (RFC 7517, 7518, 8037)
 *
 * Members that cannot be used are passed over, as RFC 7517 section 5 has it:
 * in silence where they are none of our business (encryption keys, other
 * curves), with a note where they should have been ours.  Only a set of which
 * nothing can be used is refused.
 */
#include "key.h"

#include "b64url.h"
#include "claims.h"
#include "lenient.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JWKS_KEYS_MAX = 64, MATERIAL_MAX = 1024 };

struct material {
    unsigned char bytes[MATERIAL_MAX];
    size_t len;
};

/* One base64url member; false when it is missing or not strict. */
static bool get_bytes(json_t *jwk, const char *name, struct material *out)
{
    const char *text = claims_text(json_object_get(jwk, name));
    return text &&
           b64url_decode(text, strlen(text), out->bytes, sizeof(out->bytes), &out->len) == 0 &&
           out->len > 0;
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OSSL_PARAM *params = build ? OSSL_PARAM_BLD_to_param(build) : NULL;
    EVP_PKEY *pkey = NULL;

    if (!ctx || !params || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static EVP_PKEY *rsa_from(json_t *jwk)
{
    struct material n, e;
    EVP_PKEY *pkey = NULL;

    if (!get_bytes(jwk, "n", &n) || !get_bytes(jwk, "e", &e) || e.len > 8 ||
        !(e.bytes[e.len - 1] & 1) || (e.len == 1 && e.bytes[0] < 3))
        return NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *bn_n = BN_bin2bn(n.bytes, (int)n.len, NULL);
    BIGNUM *bn_e = BN_bin2bn(e.bytes, (int)e.len, NULL);
    if (build && bn_n && bn_e && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, bn_n) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, bn_e) == 1)
        pkey = from_params("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(bn_n);
    BN_free(bn_e);
    return pkey;
}

/* OpenSSL refuses a point that is not on the curve. */
static EVP_PKEY *ec_from(json_t *jwk, const char *group, size_t coordinate)
{
    struct material x, y;
    unsigned char point[1 + 2 * 48];
    EVP_PKEY *pkey = NULL;

    if (!get_bytes(jwk, "x", &x) || !get_bytes(jwk, "y", &y) || x.len != coordinate ||
        y.len != coordinate)
        return NULL;
    point[0] = 4; /* uncompressed */
    memcpy(point + 1, x.bytes, coordinate);
    memcpy(point + 1 + coordinate, y.bytes, coordinate);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
                                         1 + 2 * coordinate) == 1)
        pkey = from_params("EC", build);
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

static EVP_PKEY *okp_from(json_t *jwk)
{
    struct material x;

    if (!get_bytes(jwk, "x", &x) || x.len != 32)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x.bytes, x.len);
}

static int secret_from(json_t *jwk, struct key *key)
{
    struct material k;

    if (!get_bytes(jwk, "k", &k) || !(key->secret = malloc(k.len)))
        return -1;
    memcpy(key->secret, k.bytes, k.len);
    key->secret_len = k.len;
    OPENSSL_cleanse(&k, sizeof(k));
    key->type = KEY_HMAC;
    return 0;
}

static const char *text_of(json_t *jwk, const char *name)
{
    const char *text = claims_text(json_object_get(jwk, name));
    return text ? text : "";
}

/* There, and not null. */
static json_t *get(json_t *jwk, const char *name)
{
    json_t *value = json_object_get(jwk, name);
    return json_is_null(value) ? NULL : value;
}

/* Is it a signature key of a type that we know and that the issuer may use? */
static bool is_for_us(json_t *jwk, const struct issuer *iss)
{
    const char *kty = text_of(jwk, "kty"), *crv = text_of(jwk, "crv"), *alg = text_of(jwk, "alg");
    bool may_hmac = iss->algorithms & algorithm_set(KEY_HMAC, 0);

    if (get(jwk, "use") && strcmp(text_of(jwk, "use"), "sig") != 0)
        return false;
    if (*alg) {
        const struct algorithm *known = algorithm_find(alg);
        if (!known || (iss->algorithms && !(iss->algorithms & algorithm_bit(known))))
            return false;
    }
    return strcmp(kty, "RSA") == 0 || (strcmp(kty, "oct") == 0 && may_hmac) ||
           (strcmp(kty, "EC") == 0 && (strcmp(crv, "P-256") == 0 || strcmp(crv, "P-384") == 0)) ||
           (strcmp(kty, "OKP") == 0 && strcmp(crv, "Ed25519") == 0);
}

/* Fills in type and material; a sentence when the JWK is not right, or NULL. */
static const char *read_material(json_t *jwk, struct key *key)
{
    const char *kty = text_of(jwk, "kty"), *crv = text_of(jwk, "crv"), *alg = text_of(jwk, "alg");

    if (strcmp(kty, "oct") != 0 && get(jwk, "d"))
        return "holds a private key: give the broker the public half only";
    if (strcmp(kty, "oct") == 0) {
        if (secret_from(jwk, key) != 0)
            return "k is not base64url";
    } else {
        key->pkey = strcmp(kty, "RSA") == 0     ? rsa_from(jwk)
                    : strcmp(kty, "OKP") == 0   ? okp_from(jwk)
                    : strcmp(crv, "P-256") == 0 ? ec_from(jwk, "prime256v1", 32)
                                                : ec_from(jwk, "secp384r1", 48);
        if (!key->pkey || key_set_type(key) != 0)
            return "its numbers do not make a public key";
    }
    if (*alg) {
        const struct algorithm *known = algorithm_find(alg);
        if (known->type != key->type)
            return "alg does not go with kty";
        /* Ed25519's two names are one algorithm. */
        key->algorithms =
            known->type == KEY_ED25519 ? algorithm_set(KEY_ED25519, 0) : algorithm_bit(known);
    }
    return NULL;
}

/* 0, or -1 with a sentence in err. */
static int add_jwk(struct keys *keys, const struct issuer *iss, json_t *jwk, char *err)
{
    struct key key = {.issuer = iss, .is_fetched = true};
    const char *kid = text_of(jwk, "kid");
    const char *why = strlen(kid) > KEYS_KID_MAX ? "kid is longer than 255 bytes" : NULL;

    if (json_is_string(get(jwk, "kid")) && !claims_text(get(jwk, "kid")))
        why = "kid has a NUL or half a surrogate pair";

    if (!why) {
        memcpy(key.kid, kid, strlen(kid));
        why = read_material(jwk, &key);
    }
    if (!why)
        return keys_add(keys, &key, false, err);
    EVP_PKEY_free(key.pkey);
    file_wipe(key.secret, key.secret_len);
    snprintf(err, FILE_ERROR_SIZE, "key \"%.64s\": %s", kid, why);
    return -1;
}

/* Adds what can be used of the list; how many.  The first reason why something cannot is in err. */
static size_t add_list(struct keys *keys, const struct issuer *iss, json_t *list, char *err)
{
    char why[FILE_ERROR_SIZE], note[2 * FILE_ERROR_SIZE];
    size_t i, added = 0;
    json_t *jwk;

    json_array_foreach(list, i, jwk)
    {
        if (!is_for_us(jwk, iss))
            continue;
        if (added == JWKS_KEYS_MAX)
            snprintf(why, sizeof(why), "keys after the first %d", JWKS_KEYS_MAX);
        else if (add_jwk(keys, iss, jwk, why) == 0) {
            added++;
            continue;
        }
        if (*err == '\0')
            snprintf(err, FILE_ERROR_SIZE, "%s", why);
        snprintf(note, sizeof(note), "%.200s: passed over: %.290s",
                 iss->jwks_file ? iss->jwks_file : iss->label, why);
        keys_note(keys, note);
        if (added == JWKS_KEYS_MAX)
            break;
    }
    return added;
}

int jwks_parse(struct keys *keys, const struct issuer *iss, const char *text, size_t len,
               char err[FILE_ERROR_SIZE])
{
    json_error_t where = {.text = "out of memory"};
    char *copy = malloc(len + 1);
    json_t *root = NULL;

    if (copy) {
        memcpy(copy, text, len);
        lenient_tame(copy, len);
        root = json_loadb(copy, len, JSON_ALLOW_NUL, &where);
        file_wipe(copy, len);
    }
    json_t *list = json_object_get(root, "keys");
    char why[FILE_ERROR_SIZE] = "";
    size_t added = json_is_array(list) ? add_list(keys, iss, list, why) : 0;

    if (!root)
        snprintf(err, FILE_ERROR_SIZE, "is no JSON (line %d: %.100s)", where.line, where.text);
    else if (!json_is_array(list))
        snprintf(err, FILE_ERROR_SIZE, "is no JWKS: it has no array \"keys\"");
    else if (added == 0)
        snprintf(err, FILE_ERROR_SIZE, "has no key that can verify a token of this issuer%s%.350s",
                 *why ? ": " : "", why);
    json_decref(root);
    return added ? 0 : -1;
}
