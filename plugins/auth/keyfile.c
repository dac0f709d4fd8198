/* SPDX-License-Identifier: MIT */
#include "key.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Puts the path in front of the sentence. */
static void name_path(const char *path, char *err)
{
    char why[FILE_ERROR_SIZE];

    snprintf(why, sizeof(why), "%s", err);
    snprintf(err, FILE_ERROR_SIZE, "%.200s: %.290s", path, why);
}

static int set_kid(struct key *key, const char *kid, size_t len, char *err)
{
    if (len > KEYS_KID_MAX) {
        snprintf(err, FILE_ERROR_SIZE, "a key id is longer than %d bytes", KEYS_KID_MAX);
        return -1;
    }
    memcpy(key->kid, kid, len);
    key->kid[len] = '\0';
    return 0;
}

int keyfile_secret(struct keys *keys, const struct issuer *iss, char err[FILE_ERROR_SIZE])
{
    struct key key = {.issuer = iss, .type = KEY_HMAC};
    const char *kid = iss->key_id ? iss->key_id : "";
    size_t len;
    char *text = file_read(iss->secret_file, KEYS_FILE_MAX, true, &len, err);

    if (!text)
        return -1;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    if (set_kid(&key, kid, strlen(kid), err) != 0) {
        file_wipe(text, len);
        return -1;
    }
    key.secret = (unsigned char *)text;
    key.secret_len = len;
    if (keys_add(keys, &key, true, err) == 0)
        return 0;
    name_path(iss->secret_file, err);
    return -1;
}

int key_set_type(struct key *key)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(key->pkey, "RSA"))
        key->type = KEY_RSA;
    else if (EVP_PKEY_is_a(key->pkey, "ED25519"))
        key->type = KEY_ED25519;
    else if (!EVP_PKEY_is_a(key->pkey, "EC") ||
             EVP_PKEY_get_group_name(key->pkey, group, sizeof(group), NULL) != 1)
        return -1;
    else if (strcmp(group, "prime256v1") == 0)
        key->type = KEY_P256;
    else if (strcmp(group, "secp384r1") == 0)
        key->type = KEY_P384;
    else
        return -1;
    return 0;
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned count = 0;

    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        count++;
    return count;
}

/*
 * The key of the first of some certificates, each of which but the first must have issued the one
 * before it: a chain, as TLS servers have it.  NULL when they are anything else.
 */
static EVP_PKEY *read_chain(BIO *bio, unsigned count)
{
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    EVP_PKEY *pkey = cert ? X509_get_pubkey(cert) : NULL;

    while (pkey && --count > 0) {
        X509 *next = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!next || X509_check_issued(next, cert) != X509_V_OK) {
            EVP_PKEY_free(pkey);
            pkey = NULL;
        }
        X509_free(cert);
        cert = next;
    }
    X509_free(cert);
    return pkey;
}

/* A "PUBLIC KEY" or the one inside a "CERTIFICATE"; NULL when it is neither. */
static EVP_PKEY *read_pem(const char *text, size_t len, unsigned certs)
{
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    EVP_PKEY *pkey = NULL;

    if (bio && certs) {
        pkey = read_chain(bio, certs);
    } else if (bio) {
        pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    }
    BIO_free(bio);
    ERR_clear_error();
    return pkey;
}

static int add_pem(struct keys *keys, struct key *key, const char *text, size_t len, char *err)
{
    unsigned publics = count_of(text, "-----BEGIN PUBLIC KEY-----");
    unsigned certs = count_of(text, "-----BEGIN CERTIFICATE-----");

    if (strstr(text, "PRIVATE KEY")) {
        snprintf(err, FILE_ERROR_SIZE, "holds a private key: give the broker the public half only");
        return -1;
    }
    if (publics + (certs > 0) > 1) {
        snprintf(err, FILE_ERROR_SIZE,
                 "holds %u public keys: only one can be used; give each a file of its own, "
                 "pem_file first=PATH second=PATH",
                 publics + certs);
        return -1;
    }
    key->pkey = read_pem(text, len, certs);
    if (!key->pkey && certs > 1) {
        snprintf(err, FILE_ERROR_SIZE,
                 "holds %u certificates that are no chain (each issued by the next): give each a "
                 "file of its own, pem_file first=PATH second=PATH",
                 certs);
        return -1;
    }
    if (!key->pkey || key_set_type(key) != 0) {
        EVP_PKEY_free(key->pkey);
        snprintf(err, FILE_ERROR_SIZE,
                 "is no PEM public key or certificate of RSA, P-256, P-384 or Ed25519");
        return -1;
    }
    return keys_add(keys, key, true, err);
}

int keyfile_pem(struct keys *keys, const struct issuer *iss, const char *spec,
                char err[FILE_ERROR_SIZE])
{
    struct key key = {.issuer = iss};
    const char *equals = *spec == '/' ? NULL : strchr(spec, '=');
    const char *path = equals ? equals + 1 : spec;
    const char *kid = iss->key_id ? iss->key_id : "";
    size_t len, kid_len = strlen(kid);

    if (equals) {
        kid = spec;
        kid_len = (size_t)(equals - spec);
    }
    if (set_kid(&key, kid, kid_len, err) != 0)
        return -1;
    char *text = file_read(path, KEYS_FILE_MAX, false, &len, err);
    if (!text)
        return -1;
    int rc = add_pem(keys, &key, text, len, err);
    file_wipe(text, len);
    if (rc != 0)
        name_path(path, err);
    return rc;
}

int keyfile_jwks(struct keys *keys, const struct issuer *iss, char err[FILE_ERROR_SIZE])
{
    /* Symmetric keys are accepted only from files that are kept like secrets. */
    bool is_secret = iss->algorithms & algorithm_set(KEY_HMAC, 0);
    size_t len;
    char *text;

    if (access(iss->jwks_file, F_OK) != 0 && errno == ENOENT) {
        snprintf(err, FILE_ERROR_SIZE,
                 "cannot read %.300s: no such file; its issuer's tokens are refused until it comes",
                 iss->jwks_file);
        keys_note(keys, err);
        return 1;
    }
    text = file_read(iss->jwks_file, KEYS_FILE_MAX, is_secret, &len, err);
    if (!text)
        return -1;
    int rc = jwks_parse(keys, iss, text, len, err);
    file_wipe(text, len);
    if (rc == 0)
        return 0;
    name_path(iss->jwks_file, err);
    if (*iss->label == '\0')
        return -1;
    keys_note(keys, err); /* somebody else's set: as if it were not there */
    return 1;
}
