/* SPDX-License-Identifier: MIT */
#include "keys.h"

#include "key.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192, SECRET_MIN = 32 };

static void key_fini(struct key *key)
{
    EVP_PKEY_free(key->pkey);
    file_wipe(key->secret, key->secret_len);
    OPENSSL_cleanse(key, sizeof(*key));
}

void keys_free(struct keys *keys)
{
    if (!keys)
        return;
    for (size_t i = 0; i < keys->count; i++)
        key_fini(&keys->items[i]);
    free(keys->items);
    free(keys);
}

size_t keys_count(const struct keys *keys)
{
    return keys->count;
}

/* The first eight bytes of SHA-256 over kid, issuer and material. */
static uint64_t print_of(const struct key *key)
{
    unsigned char hash[SHA256_DIGEST_LENGTH], *der = NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int der_len = key->pkey ? i2d_PUBKEY(key->pkey, &der) : 0;
    uint64_t print = 0;

    if (ctx && der_len >= 0 && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
        EVP_DigestUpdate(ctx, key->kid, sizeof(key->kid)) == 1 &&
        EVP_DigestUpdate(ctx, key->issuer->label, strlen(key->issuer->label) + 1) == 1 &&
        EVP_DigestUpdate(ctx, key->pkey ? der : key->secret,
                         key->pkey ? (size_t)der_len : key->secret_len) == 1 &&
        EVP_DigestFinal_ex(ctx, hash, NULL) == 1)
        memcpy(&print, hash, sizeof(print));
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    return print;
}

/* What the type asks of its material; a sentence, or NULL when it is sound. */
static const char *weakness(const struct key *key)
{
    if (key->type == KEY_HMAC)
        return key->secret_len < SECRET_MIN ? "the secret is shorter than 32 bytes" : NULL;
    if (key->type != KEY_RSA)
        return NULL;
    int bits = EVP_PKEY_get_bits(key->pkey);
    return bits < RSA_BITS_MIN || bits > RSA_BITS_MAX ? "the RSA key must have 2048 to 8192 bits"
                                                      : NULL;
}

void keys_note(struct keys *keys, const char *sentence)
{
    size_t used = strlen(keys->notes);

    if (used + strlen(sentence) + 3 > sizeof(keys->notes))
        return;
    snprintf(keys->notes + used, sizeof(keys->notes) - used, "%s%s", used ? "; " : "", sentence);
}

const char *keys_notes(const struct keys *keys)
{
    return keys->notes;
}

static int reserve(struct keys *keys)
{
    if (keys->count < keys->room)
        return 0;
    size_t room = keys->room ? keys->room * 2 : 8;
    struct key *items = realloc(keys->items, room * sizeof(*items));
    if (!items)
        return -1;
    keys->items = items;
    keys->room = room;
    return 0;
}

int keys_add(struct keys *keys, struct key *key, bool is_unique, char err[FILE_ERROR_SIZE])
{
    const char *why = weakness(key);
    unsigned wanted = key->issuer->algorithms;

    if (!key->algorithms)
        key->algorithms = algorithm_set(key->type, wanted == 0);
    if (wanted)
        key->algorithms &= wanted;
    if (!why && !key->algorithms)
        why = "the key can do none of the issuer's algorithms";
    for (size_t i = 0; is_unique && !why && i < keys->count; i++)
        if (keys->items[i].issuer == key->issuer && strcmp(keys->items[i].kid, key->kid) == 0)
            why = "two keys of one issuer have the same key id (or both have none)";
    if (!why && reserve(keys) != 0)
        why = "out of memory";
    if (why) {
        snprintf(err, FILE_ERROR_SIZE, "key \"%.64s\": %s", key->kid, why);
        key_fini(key);
        return -1;
    }
    key->print = print_of(key);
    keys->items[keys->count++] = *key;
    return 0;
}

/* 0; 1 when all is right but that jwks_file is not there; -1 with a sentence in err. */
static int load_files(struct keys *keys, const struct issuer *iss, char *err)
{
    if (iss->secret_file && keyfile_secret(keys, iss, err) != 0)
        return -1;
    for (size_t i = 0; i < iss->pem_files.count; i++)
        if (keyfile_pem(keys, iss, iss->pem_files.items[i], err) != 0)
            return -1;
    return iss->jwks_file ? keyfile_jwks(keys, iss, err) : 0;
}

/* A token's kid must be its key's, so a key without one is for tokens without one; and these may
 * mean an issuer's only key. */
static void note_unnamed(struct keys *keys, const struct issuer *iss, size_t first)
{
    char note[FILE_ERROR_SIZE];

    for (size_t i = first; i < keys->count; i++) {
        const struct key *key = &keys->items[i];
        bool is_alone = keys->count - first == 1;
        if (*key->kid || (is_alone && !key->is_fetched))
            continue;
        snprintf(note, sizeof(note), "a key of %.80s has no kid%s", iss->issuer,
                 is_alone ? ": tokens that name a kid are refused"
                          : " beside other keys and can verify nothing: give it a kid (of a file: "
                            "key_id, or pem_file kid=PATH)");
        keys_note(keys, note);
    }
}

/* The same with a note about keys that may be of no use. */
static int load_issuer(struct keys *keys, const struct issuer *iss, char *err)
{
    size_t first = keys->count;
    int rc = load_files(keys, iss, err);

    if (rc == 0)
        note_unnamed(keys, iss, first);
    return rc;
}
/* Forgets the last keys, down to `count`. */
static void truncate_to(struct keys *keys, size_t count)
{
    while (keys->count > count)
        key_fini(&keys->items[--keys->count]);
}

/* A copy that has the material in common, or its own of a secret. */
static int add_copy(struct keys *keys, const struct key *old)
{
    struct key key = *old;

    if (reserve(keys) != 0)
        return -1;
    if (old->secret && !(key.secret = malloc(old->secret_len)))
        return -1;
    if (old->secret)
        memcpy(key.secret, old->secret, old->secret_len);
    if (old->pkey)
        EVP_PKEY_up_ref(old->pkey);
    keys->items[keys->count++] = key;
    return 0;
}

static int keep_old(struct keys *keys, const struct keys *old, const struct issuer *iss,
                    bool only_fetched)
{
    for (size_t i = 0; i < old->count; i++) {
        const struct key *key = &old->items[i];
        if (key->issuer == iss && (key->is_fetched || !only_fetched) && add_copy(keys, key) != 0)
            return -1;
    }
    return 0;
}

struct keys *keys_load(const struct options *opt, char err[FILE_ERROR_SIZE])
{
    struct keys *keys = calloc(1, sizeof(*keys));
    bool is_good = keys != NULL;

    if (!keys)
        snprintf(err, FILE_ERROR_SIZE, "out of memory");
    for (size_t i = 0; is_good && i < opt->issuer_count; i++)
        is_good = load_issuer(keys, &opt->issuers[i], err) >= 0;
    if (is_good && keys->count == 0) {
        snprintf(err, FILE_ERROR_SIZE, "there is no key at all: %.400s", keys->notes);
        is_good = false;
    }
    ERR_clear_error();
    if (is_good)
        return keys;
    keys_free(keys);
    return NULL;
}

struct keys *keys_reload(const struct options *opt, const struct keys *old, bool *failed,
                         char err[FILE_ERROR_SIZE])
{
    struct keys *keys = calloc(1, sizeof(*keys));
    bool is_good = keys != NULL;

    *failed = false;
    for (size_t i = 0; is_good && i < opt->issuer_count; i++) {
        char why[FILE_ERROR_SIZE] = "";
        size_t had = keys->count;
        int rc = load_issuer(keys, &opt->issuers[i], why);
        if (rc == 0)
            continue;
        if (rc < 0)
            truncate_to(keys, had);
        had = keys->count;
        is_good = keep_old(keys, old, &opt->issuers[i], rc > 0) == 0;
        if (rc < 0 || keys->count > had) {
            *failed = true;
            snprintf(err, FILE_ERROR_SIZE, "%s", why);
        }
    }
    ERR_clear_error();
    if (is_good)
        return keys;
    snprintf(err, FILE_ERROR_SIZE, "out of memory");
    keys_free(keys);
    return NULL;
}

static bool is_only_key(const struct keys *keys, const struct key *key)
{
    for (size_t i = 0; i < keys->count; i++)
        if (&keys->items[i] != key && keys->items[i].issuer == key->issuer)
            return false;
    return true;
}

const struct key *keys_next(const struct keys *keys, const char *kid, size_t *at)
{
    while (*at < keys->count) {
        const struct key *key = &keys->items[(*at)++];
        if (kid ? strcmp(key->kid, kid) == 0 : is_only_key(keys, key))
            return key;
    }
    return NULL;
}

bool keys_has_print(const struct keys *keys, uint64_t print)
{
    for (size_t i = 0; i < keys->count; i++)
        for (size_t k = 0; k < ALGORITHM_COUNT; k++)
            if (key_allows(&keys->items[i], &algorithms[k]) &&
                key_print(&keys->items[i], &algorithms[k]) == print)
                return true;
    return false;
}

const struct issuer *key_issuer(const struct key *key)
{
    return key->issuer;
}

uint64_t key_print(const struct key *key, const struct algorithm *alg)
{
    return key->print ^ algorithm_bit(alg) * UINT64_C(0x9e3779b97f4a7c15);
}

bool key_allows(const struct key *key, const struct algorithm *alg)
{
    return alg->type == key->type && (key->algorithms & algorithm_bit(alg));
}

static bool verify_hmac(const struct key *key, const struct algorithm *alg, const char *text,
                        size_t len, const unsigned char *sig)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;

    if (!HMAC(EVP_get_digestbyname(alg->digest), key->secret, (int)key->secret_len,
              (const unsigned char *)text, len, mac, &mac_len))
        return false;
    return mac_len == alg->signature_len && CRYPTO_memcmp(mac, sig, mac_len) == 0;
}

/* JWS carries r and s side by side, OpenSSL wants them in DER.  The length, or -1. */
static int ecdsa_to_der(const unsigned char *sig, size_t len, unsigned char **der)
{
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig, (int)(len / 2), NULL);
    BIGNUM *s = BN_bin2bn(sig + len / 2, (int)(len / 2), NULL);
    int der_len = -1;

    if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* now the pair's */
        der_len = i2d_ECDSA_SIG(pair, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return der_len;
}

static bool verify_public(const struct key *key, const struct algorithm *alg, const char *text,
                          size_t len, const unsigned char *sig, size_t sig_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL; /* the md context's */
    unsigned char *der = NULL;
    bool is_good = false;

    if (alg->type == KEY_P256 || alg->type == KEY_P384) {
        int der_len = ecdsa_to_der(sig, sig_len, &der);
        if (der_len <= 0)
            goto out;
        sig = der;
        sig_len = (size_t)der_len;
    }
    if (!ctx || EVP_DigestVerifyInit_ex(ctx, &pctx, alg->digest, NULL, NULL, key->pkey, NULL) != 1)
        goto out;
    if (alg->is_pss && (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1 ||
                        EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) != 1))
        goto out;
    is_good = EVP_DigestVerify(ctx, sig, sig_len, (const unsigned char *)text, len) == 1;
out:
    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
    return is_good;
}

bool key_verify(const struct key *key, const struct algorithm *alg, const char *text, size_t len,
                const unsigned char *sig, size_t sig_len)
{
    size_t want = alg->signature_len ? alg->signature_len : (size_t)EVP_PKEY_get_size(key->pkey);

    if (!key_allows(key, alg) || sig_len != want)
        return false;
    bool is_good = alg->type == KEY_HMAC ? verify_hmac(key, alg, text, len, sig)
                                         : verify_public(key, alg, text, len, sig, sig_len);
    ERR_clear_error(); /* the queue is shared with the broker's TLS */
    return is_good;
}
