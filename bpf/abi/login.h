/* SPDX-License-Identifier: GPL-2.0-only */
/* What PAM has answered a program that lets people in. */
#ifndef MOAT_ABI_LOGIN_H
#define MOAT_ABI_LOGIN_H

#include "event.h"

enum moat_login_step {
	MOAT_LOGIN_AUTHENTICATE = 1, /* pam_authenticate: is it who it says? */
	MOAT_LOGIN_ACCOUNT = 2,      /* pam_acct_mgmt: may it come in? */
	MOAT_LOGIN_SESSION = 3,      /* pam_open_session: it is in; with a key of ssh without the first step */
	MOAT_LOGIN_COUNT = 4,
};

#define MOAT_LOGIN_SERVICE_LEN 32
#define MOAT_LOGIN_USER_LEN 64
#define MOAT_LOGIN_REMOTE_LEN 128
#define MOAT_LOGIN_TERMINAL_LEN 32

/* MOAT_KIND_LOGIN. Strings are the caller's memory. A string that is not set is empty. */
struct moat_login {
	struct moat_hdr hdr;
	__u32 step;
	__s32 result; /* as PAM numbers it: 0 PAM_SUCCESS, 6 PERM_DENIED, 7 AUTH_ERR, 10 USER_UNKNOWN, ... */
	char service[MOAT_LOGIN_SERVICE_LEN]; /* "sshd", "su" */
	char user[MOAT_LOGIN_USER_LEN];       /* whom it is to become */
	char remote[MOAT_LOGIN_REMOTE_LEN];   /* PAM_RHOST */
	char by[MOAT_LOGIN_USER_LEN];         /* PAM_RUSER: who asks, as su says */
	char terminal[MOAT_LOGIN_TERMINAL_LEN];
};

#endif
