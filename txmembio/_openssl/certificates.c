/* Fields of X.509 extensions that OpenSSL has no accessor for: their structs differ in how C compilers name nested
 * unions, so they are read here. */

#include <openssl/x509v3.h>

#include "pump.h"

/* The full name of a CRL distribution point (a GENERAL_NAMES stack that the point keeps), NULL where it has none. */
void *txm_dist_point_names(const DIST_POINT *point)
{
    return point->distpoint != NULL && point->distpoint->type == 0 ? point->distpoint->name.fullname : NULL;
}

const ASN1_OBJECT *txm_access_method(const ACCESS_DESCRIPTION *access) { return access->method; }

const GENERAL_NAME *txm_access_location(const ACCESS_DESCRIPTION *access) { return access->location; }
