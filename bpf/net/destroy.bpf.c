/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The end of a TCP socket, whichever comes last of the connection's end and close(); wherever the socket was made. Often in
 * soft-irq, and the whole host's.
 */
#include "flows.bpf.h"
#include <bpf/bpf_tracing.h>

MOAT_TRACE("tp_btf/tcp_destroy_sock", moat_net_destroy, struct sock *socket)
{
	const struct sock *sk = moat_sock(socket);
	__u64 cookie = moat_cookie(sk);

	if (cookie) /* a TIME_WAIT or refused socket has given its port back: sk has nothing that the flow lacks */
		moat_flow_close(cookie, NULL);
	return 0;
}
