/* SPDX-License-Identifier: MIT */
#include "channels/jose.h"
#include "base/alloc.h"
#include "base/log.h"
#include "channels/encode.h"
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <string.h>

#define RSA_BITS_MIN  2048
#define RSA_BYTES_MAX 1024 /* 8192 bits */
#define ES256_HALF    32

struct jose_key {
    EVP_PKEY *pkey;
    enum jose_alg alg;
};

static bool is_p256(EVP_PKEY *pkey)
{
    char group[32] = "";

    return EVP_PKEY_is_a(pkey, "EC") &&
           EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) == 1 &&
           (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0);
}

static bool is_suitable(EVP_PKEY *pkey, enum jose_alg alg)
{
    if (alg == JOSE_ES256)
        return is_p256(pkey);
    return EVP_PKEY_is_a(pkey, "RSA") && EVP_PKEY_get_bits(pkey) >= RSA_BITS_MIN &&
           EVP_PKEY_get_size(pkey) <= RSA_BYTES_MAX;
}

static struct jose_key *wrap(EVP_PKEY *pkey, enum jose_alg alg)
{
    struct jose_key *key = xcalloc(1, sizeof *key);

    key->pkey = pkey;
    key->alg = alg;
    return key;
}

/* A key with a pass phrase is refused rather than asked about on the terminal. */
static int no_pass_phrase(char *out, int size, int is_write, void *ctx)
{
    (void)out, (void)size, (void)is_write, (void)ctx;
    return -1;
}

int jose_key_from_pem(enum jose_alg alg, const char *pem, size_t length, struct jose_key **key)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)length);
    EVP_PKEY *pkey;

    if (!bio)
        fatal("memory.exhausted", "BIO_new_mem_buf");
    pkey = PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL);
    BIO_free(bio);
    if (!pkey)
        return ERR_INVALID;
    if (!is_suitable(pkey, alg)) {
        EVP_PKEY_free(pkey);
        return ERR_INVALID;
    }
    *key = wrap(pkey, alg);
    return 0;
}

/* The public point that belongs to a secret scalar. */
static int point_of(const BIGNUM *scalar, unsigned char out[65])
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *point = EC_POINT_new(group);
    int err = ERR_INVALID;

    if (EC_POINT_mul(group, point, scalar, NULL, NULL, NULL) == 1 &&
        EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, out, 65, NULL) == 65)
        err = 0;
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return err;
}

int jose_key_from_scalar(const unsigned char *scalar, size_t length, struct jose_key **key)
{
    unsigned char point[65];
    BIGNUM *number = BN_bin2bn(scalar, (int)length, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *pkey = NULL;
    int err = ERR_INVALID;

    if (length != ES256_HALF || !number || BN_is_zero(number) || point_of(number, point) != 0)
        goto out;
    if (!OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, number) ||
        !OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point))
        goto out;
    params = OSSL_PARAM_BLD_to_param(build);
    if (!params || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1)
        goto out;
    *key = wrap(pkey, JOSE_ES256);
    err = 0;
out:
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    BN_clear_free(number);
    return err;
}

void jose_key_free(struct jose_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

struct evp_pkey_st *jose_key_pkey(const struct jose_key *key)
{
    return key->pkey;
}

void jose_key_point(const struct jose_key *key, unsigned char out[65])
{
    size_t length = 0;

    if (EVP_PKEY_get_octet_string_param(key->pkey, OSSL_PKEY_PARAM_PUB_KEY, out, 65, &length) !=
            1 ||
        length != 65)
        panic("a P-256 key has a point");
}

/* DER to R || S, 32 bytes each (RFC 7518 3.4). */
static void raw_signature(const unsigned char *der, size_t length,
                          unsigned char out[2 * ES256_HALF])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)length);

    if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, ES256_HALF) != ES256_HALF ||
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + ES256_HALF, ES256_HALF) != ES256_HALF)
        panic("our own ECDSA signature is malformed");
    ECDSA_SIG_free(sig);
}

void jose_sign(struct buf *out, const struct jose_key *key, const char *kid, const char *claims)
{
    unsigned char signature[RSA_BYTES_MAX], raw[2 * ES256_HALF];
    size_t start = out->length, length = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    struct buf header = {0};

    buf_printf(&header, "{\"alg\":\"%s\",\"typ\":\"JWT\"",
               key->alg == JOSE_RS256 ? "RS256" : "ES256");
    if (kid) {
        buf_add_text(&header, ",\"kid\":");
        buf_add_json(&header, kid);
    }
    buf_add_char(&header, '}');
    encode_base64url(out, header.data, header.length);
    buf_fini(&header);
    buf_add_char(out, '.');
    encode_base64url(out, claims, strlen(claims));
    if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) != 1 ||
        EVP_DigestSign(ctx, signature, &length, (const unsigned char *)out->data + start,
                       out->length - start) != 1)
        panic("signing failed");
    EVP_MD_CTX_free(ctx);
    buf_add_char(out, '.');
    if (key->alg == JOSE_RS256) {
        encode_base64url(out, signature, length);
    } else {
        raw_signature(signature, length, raw);
        encode_base64url(out, raw, sizeof raw);
    }
}
