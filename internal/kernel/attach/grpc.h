/* google.golang.org/grpc. */
#pragma once

#include "work.h"

/* gRPC's client. The code is there if the error is a *status.Error, which user space sees. */
static __always_inline __s32 code_of(struct offsets *o, __u64 error)
{
	__u64 st = error ? word(word(error, o->error_s), o->status_s) : 0;
	__s32 code = 0;
	if (st && o->status_code != NONE)
		bpf_probe_read_user(&code, sizeof(code), (void *)(st + o->status_code));
	return code;
}

static __always_inline int grpc_start(struct pt_regs *ctx, __u64 at, __u64 len)
{
	correlating = 1;
	struct gkey k = { .g = G(ctx), .kind = GRPC_CLIENT };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct span *s = call_start(&k, o, at);
	if (!s)
		return 0;
	READ_TEXT(s, text, TEXT, at, len);
	READ_STRING(s, host, HOST, ARG0(ctx), o->cc_target);
	return 0;
}

/* (*ClientConn).Invoke(ctx, method, …) error */
SEC("uprobe.multi/")
int grpc_invoke(struct pt_regs *ctx) { return grpc_start(ctx, ARG3(ctx), ARG4(ctx)); }

/* (*ClientConn).NewStream(ctx, desc, method, …) (ClientStream, error) */
SEC("uprobe.multi/")
int grpc_open(struct pt_regs *ctx) { return grpc_start(ctx, ARG4(ctx), ARG5(ctx)); }

SEC("uprobe.multi/")
int grpc_invoked(struct pt_regs *ctx)
{
	__u32 slot;
	struct offsets *o = offsets_of(ctx, &slot);
	return o ? call_end(ctx, GRPC_CLIENT, ARG0(ctx), code_of(o, ARG0(ctx) ? ARG1(ctx) : 0)) : 0;
}

/* (*clientStream).newAttemptLocked(…): what NewStream returns may be wrapped, by gRPC
 * and by interceptors; this is what will finish. */
SEC("uprobe.multi/")
int grpc_attempt(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .slot = (__u32)bpf_get_attach_cookie(ctx) };
	struct span *s = call_now(&k, GRPC_CLIENT);
	if (s && !s->extra2)
		s->extra2 = ARG0(ctx);
	return 0;
}

/* The client's end of a gRPC transport's connection; kept, for many streams share it. */
static __always_inline void transport_flow(__u64 transport, __u32 slot, __u32 kind, struct offsets *o, struct flow *f)
{
	struct gkey k = { .g = transport, .slot = slot, .kind = kind };
	struct flow *known = bpf_map_lookup_elem(&transports, &k), found = {};
	if (known) {
		*f = *known;
		return;
	}
	__u16 at = kind == GRPC_SERVER ? o->gs_conn : o->gc_conn;
	if (at == NONE)
		return;
	/* Unlike net/http's, the connection may be of any type: TLS is a *tls.Conn within one of
	 * gRPC's own. What has no TCP connection in it reads as none. */
	read_flow(word(transport + 8, at), slot, kind == GRPC_SERVER ? HTTP_SERVER : HTTP_CLIENT, &found);
	bpf_map_update_elem(&transports, &k, &found, BPF_ANY);
	*f = found;
}

/* What a client's span was sent as: from now on the server finds its parent. */
static __always_inline void stream_flow(struct span *s, __u32 slot, struct offsets *o, __u64 transport, __u64 stream)
{
	struct flow f = {};
	struct origin from = { .span = s->id };
	if (o->gc_stream != NONE)
		stream = word(stream, o->gc_stream);
	transport_flow(transport, slot, GRPC_CLIENT, o, &f);
	bpf_probe_read_user(&f.stream, sizeof(f.stream), (void *)(stream + o->gs_id));
	if (!f.port)
		return;
	s->flow = f;
	__builtin_memcpy(from.trace, s->trace, 16);
	if (bpf_map_update_elem(&flows, &f, &from, BPF_ANY))
		lose(LOSS_MAP);
}

SEC("uprobe.multi/")
int grpc_opened(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct gkey to = { .slot = k.slot, .kind = STREAM };
	if (!o)
		return 0;
	if (ARG2(ctx))
		return call_end(ctx, GRPC_CLIENT, ARG2(ctx), code_of(o, ARG3(ctx)));
	struct span *s = call_leave(&k, GRPC_CLIENT);
	if (!s)
		return 0;
	to.g = s->extra2;
	/* Its header is on its way, or will be soon: the stream has its number. */
	__u64 attempt = s->flow.port ? 0 : word(to.g, o->cs_attempt);
	if (attempt && o->attempt_transport != NONE && o->attempt_stream != NONE)
		stream_flow(s, k.slot, o, word(attempt + 8, o->attempt_transport), word(attempt, o->attempt_stream));
	if (s->id && bpf_map_update_elem(&calls, &to, s, BPF_ANY))
		lose(LOSS_MAP);
	bpf_map_delete_elem(&calls, &k);
	return 0;
}

/* (*clientStream).finish(error): of unary calls, too, which are not in calls. */
SEC("uprobe.multi/")
int grpc_finish(struct pt_regs *ctx)
{
	struct gkey k = { .g = ARG0(ctx), .kind = STREAM };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct span *s = bpf_map_lookup_elem(&calls, &k);
	if (!o || !s)
		return 0;
	s->error = ARG1(ctx);
	s->status = code_of(o, s->error ? ARG2(ctx) : 0);
	call_submit(&k, s);
	return 0;
}

/* (*http2Client).write(*ClientStream, …): the stream has its number. */
SEC("uprobe.multi/")
int grpc_written(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct span *s = call_now(&k, GRPC_CLIENT);
	if (o && s && !s->flow.port)
		stream_flow(s, k.slot, o, ARG0(ctx), ARG1(ctx));
	return 0;
}

/* gRPC's server. (*http2Server).operateHeaders(ctx, *MetaHeadersFrame, …) reads
 * what came, on another goroutine than the one that will serve it. */
#define HEADER_FIELD 40 /* two strings and a bool */
#define MAX_FIELDS 32

SEC("uprobe.multi/")
int grpc_headers(struct pt_regs *ctx)
{
	struct gkey k = { .g = ARG0(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	__u64 frame = ARG3(ctx), header = word(frame, o->frame_headers);
	struct str fields = {};
	__u32 stream = 0;
	bpf_probe_read_user(&stream, sizeof(stream), (void *)(header + o->frame_stream));
	bpf_probe_read_user(&fields, sizeof(fields), (void *)(frame + o->frame_fields));
	for (int i = 0; i < MAX_FIELDS && i < fields.len; i++) {
		struct { struct str name, value; } f = {};
		__u64 name[2] = {};
		if (bpf_probe_read_user(&f, sizeof(f), (void *)(fields.at + HEADER_FIELD * i)))
			return 0;
		if (f.name.len != 11 || f.value.len < 55 || bpf_probe_read_user(name, 11, (void *)f.name.at))
			continue;
		if (name[0] != 0x7261706563617274ULL || name[1] != 0x746e65ULL)
			continue;
		struct origin p = {};
		k.kind = stream;
		if (parse_parent(f.value.at, &p) && bpf_map_update_elem(&streams, &k, &p, BPF_ANY))
			lose(LOSS_MAP);
		return 0;
	}
	return 0;
}

/* (*Server).handleStream(ServerTransport, *ServerStream) */
SEC("uprobe.multi/")
int grpc_serve(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) }, from = { .g = ARG2(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct context *c = context_for(&k);
	__u64 stream = ARG3(ctx), inner = stream;
	if (!c || (c->start && c->writer == stream))
		return 0;
	if (o->gs_stream != NONE)
		inner = word(stream, o->gs_stream);
	from.slot = k.slot;
	bpf_probe_read_user(&from.kind, sizeof(from.kind), (void *)(inner + o->gs_id));
	struct origin *p = bpf_map_lookup_elem(&streams, &from), parent = {};
	if (p) {
		parent = *p;
		bpf_map_delete_elem(&streams, &from);
	}
	c->request = inner;
	c->writer = stream;
	c->conn = 0;
	c->goroutine = word(k.g, o->g_goid);
	struct flow f = {};
	transport_flow(ARG2(ctx), k.slot, GRPC_SERVER, o, &f);
	f.stream = from.kind;
	c->peer = f;
	serve(c, p ? &parent : 0, GRPC_SERVER, p ? REMOTE : f.port ? ALONE : 0);
	find_parent(c);
	return 0;
}

/* (*http2Server).writeStatus(*ServerStream, *Status): once, at the end. */
SEC("uprobe.multi/")
int grpc_served(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o || !c || !c->start || c->kind != GRPC_SERVER || c->writer != ARG1(ctx))
		return 0;
	struct span *s = bpf_ringbuf_reserve(&events, sizeof(*s), 0);
	if (!s) {
		lose(LOSS_RING);
		served(c);
		return 0;
	}
	find_parent(c);
	begin(s, c, k.slot);
	__u64 st = word(ARG2(ctx), o->status_s);
	if (st && o->status_code != NONE)
		bpf_probe_read_user(&s->status, sizeof(s->status), (void *)(st + o->status_code));
	READ_STRING(s, text, TEXT, c->request, o->gs_method);
	served(c);
	bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
	return 0;
}
