/* database/sql and go-redis. */
#pragma once

#include "work.h"

/* database/sql. */
static __always_inline struct span *sql_start(struct gkey *k, struct offsets *o, __u64 db, __u64 object, __u64 at, __u64 len)
{
	struct span *s = call_start(k, o, object);
	if (!s)
		return 0;
	s->extra = word(db, o->db_connector);
	/* dsnConnector { dsn string; driver driver.Driver } */
	if (o->db_connector != NONE)
		s->extra2 = word(word(db + 8, o->db_connector), 16);
	READ_TEXT(s, text, TEXT, at, len);
	return s;
}

/* (*DB).queryDC(ctx, txctx, dc, release, query, args) (*Rows, error) */
SEC("uprobe.multi/")
int sql_query(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (o)
		sql_start(&k, o, ARG0(ctx), ARG5(ctx), ARG7(ctx), ARG8(ctx));
	return 0;
}

/* (*DB).execDC(ctx, dc, release, query, args) (Result, error) */
SEC("uprobe.multi/")
int sql_exec(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (o)
		sql_start(&k, o, ARG0(ctx), ARG3(ctx), ARG5(ctx), ARG6(ctx));
	return 0;
}

/* (*Stmt).QueryContext and ExecContext(ctx, args) */
SEC("uprobe.multi/")
int sql_stmt(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct str query = {};
	if (!o)
		return 0;
	__u64 st = ARG0(ctx);
	bpf_probe_read_user(&query, sizeof(query), (void *)(st + o->stmt_query));
	sql_start(&k, o, word(st, o->stmt_db), st, query.at, query.len);
	return 0;
}

/* Of a transaction: what is done is the name of the call. */
#define SQL_VERB(s, verb)                                                                      \
	do {                                                                                   \
		__builtin_memcpy((s)->method, verb, sizeof(verb) - 1);                         \
		(s)->method_len = sizeof(verb) - 1;                                            \
	} while (0)

/* (*DB).beginDC(ctx, dc, release, opts) (*Tx, error) */
SEC("uprobe.multi/")
int sql_begin(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct span *s = o ? sql_start(&k, o, ARG0(ctx), ARG3(ctx), 0, 0) : 0;
	if (s)
		SQL_VERB(s, "BEGIN");
	return 0;
}

/* (*Tx).Commit() error, (*Tx).rollback(bool) error. Of a transaction that is over nothing
 * is told: that is the deferred rollback behind a commit. */
static __always_inline struct span *sql_finish(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	__u64 tx = ARG0(ctx);
	__u8 done = 0;
	if (!o)
		return 0;
	bpf_probe_read_user(&done, sizeof(done), (void *)(tx + o->tx_done));
	if (done) {
		call_pass(&k);
		return 0;
	}
	return sql_start(&k, o, word(tx, o->tx_db), tx, 0, 0);
}

SEC("uprobe.multi/")
int sql_commit(struct pt_regs *ctx)
{
	struct span *s = sql_finish(ctx);
	if (s)
		SQL_VERB(s, "COMMIT");
	return 0;
}

SEC("uprobe.multi/")
int sql_rollback(struct pt_regs *ctx)
{
	struct span *s = sql_finish(ctx);
	if (s)
		SQL_VERB(s, "ROLLBACK");
	return 0;
}

SEC("uprobe.multi/")
int sql_finished(struct pt_regs *ctx) { return call_end(ctx, SQL, ARG0(ctx), 0); }

SEC("uprobe.multi/")
int sql_queried(struct pt_regs *ctx) { return call_end(ctx, SQL, ARG1(ctx), 0); }

SEC("uprobe.multi/")
int sql_execed(struct pt_regs *ctx) { return call_end(ctx, SQL, ARG2(ctx), 0); }

/* go-redis. (*baseClient).process(ctx, Cmder, …) error */
static __always_inline void redis_address(struct span *s, struct offsets *o, __u64 client)
{
	__u64 opt = word(client, o->redis_opt);
	READ_STRING(s, host, HOST, opt, o->redis_addr);
}

static __always_inline int redis_sending(struct pt_regs *ctx, __u64 cmd)
{
	struct gkey k = { .g = G(ctx), .kind = REDIS };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	__u64 args = word(cmd, o->redis_args);
	struct span *s = call_start(&k, o, cmd);
	if (!s)
		return 0;
	/* The first of []any, a string. */
	__u64 name = args ? word(args + 8, 0) : 0;
	READ_STRING(s, method, METHOD, name, 0);
	redis_address(s, o, ARG0(ctx));
	s->extra = 1;
	return 0;
}

SEC("uprobe.multi/")
int redis_send(struct pt_regs *ctx) { return redis_sending(ctx, ARG4(ctx)); }

/* v6, which has no contexts: (*baseClient).defaultProcess(Cmder) error */
SEC("uprobe.multi/")
int redis6_send(struct pt_regs *ctx) { return redis_sending(ctx, ARG2(ctx)); }

/* (*baseClient).generalProcessPipeline(ctx, []Cmder, …) error */
static __always_inline int redis_piping(struct pt_regs *ctx, __u64 commands, __u64 n)
{
	struct gkey k = { .g = G(ctx), .kind = REDIS };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct span *s = call_start(&k, o, commands);
	if (!s)
		return 0;
	__builtin_memcpy(s->method, "PIPELINE", 8);
	s->method_len = 8;
	redis_address(s, o, ARG0(ctx));
	s->extra = n;
	return 0;
}

SEC("uprobe.multi/")
int redis_pipe(struct pt_regs *ctx) { return redis_piping(ctx, ARG3(ctx), ARG4(ctx)); }

SEC("uprobe.multi/")
int redis6_pipe(struct pt_regs *ctx) { return redis_piping(ctx, ARG1(ctx), ARG2(ctx)); }

/* A value that is not there is no error: proto.RedisError("redis: nil"). */
SEC("uprobe.multi/")
int redis_sent(struct pt_regs *ctx)
{
	__u64 error = ARG0(ctx);
	if (error) {
		struct str e = {};
		char text[10] = {};
		bpf_probe_read_user(&e, sizeof(e), (void *)ARG1(ctx));
		if (e.len == 10 && bpf_probe_read_user(text, 10, (void *)e.at) == 0 && *(__u64 *)text == 0x6e203a7369646572ULL)
			error = 0;
	}
	return call_end(ctx, REDIS, error, 0);
}
