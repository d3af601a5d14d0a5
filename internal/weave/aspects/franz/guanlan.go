//go:build guanlan_woven

package kgo

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/twmb/franz-go/pkg/kerr"
)

// guanlanHeaders are the headers of a record that go over the wire.
type guanlanHeaders struct{ r *Record }

func (h guanlanHeaders) Get(name string) string {
	for i := range h.r.Headers {
		if h.r.Headers[i].Key == name {
			return string(h.r.Headers[i].Value)
		}
	}
	return ""
}

func (h guanlanHeaders) Keys() []string {
	names := make([]string, len(h.r.Headers))
	for i := range h.r.Headers {
		names[i] = h.r.Headers[i].Key
	}
	return names
}

func (h guanlanHeaders) Set(name, value string) {
	for i := range h.r.Headers {
		if h.r.Headers[i].Key == name {
			h.r.Headers[i].Value = []byte(value)
			return
		}
	}
	h.r.Headers = append(h.r.Headers, RecordHeader{Key: name, Value: []byte(value)})
}

// guanlanMessaging describes the client.
func (cl *Client) guanlanMessaging(topic string) sdk.Messaging {
	m := sdk.Messaging{System: "kafka", Destination: topic, Group: cl.cfg.group}
	if len(cl.cfg.seedBrokers) == 1 { // of several, nobody knows which one it was
		m.Server = cl.cfg.seedBrokers[0]
	}
	if cl.cfg.id != nil {
		m.Client = *cl.cfg.id
	}
	return m
}

// guanlanRuns reports whether there is an SDK. Without one records stay as they are.
func guanlanRuns() bool {
	s := sdk.Default()
	return s != nil && s.Enabled()
}

// guanlanProduce begins the span of a record. The promise ends it.
func (cl *Client) guanlanProduce(ctx context.Context, r *Record, promise func(*Record, error)) (context.Context, func(*Record, error)) {
	if !guanlanRuns() {
		return ctx, promise
	}
	if ctx == nil {
		ctx = context.Background()
	}
	in, topic, before := ctx, r.Topic, r.Context
	if before != nil {
		in = guanlanContext{ctx, before}
	}
	if topic == "" {
		topic = cl.cfg.defaultProduceTopic
	}
	op := cl.guanlanMessaging(topic).Send(sdk.WithLocal(in), sdk.MessageDetails{Size: len(r.Value)})
	// The program may use the same headers for other records.
	r.Headers = append(make([]RecordHeader, 0, len(r.Headers)+3), r.Headers...)
	sdk.Propagator{}.Inject(op.Ctx(), guanlanHeaders{r})
	r.Context = op.Ctx() // where hooks look for the span
	if before == nil {
		before = ctx
	}
	return ctx, func(r *Record, err error) {
		r.Context = before // the program may send the record again
		if err == nil {
			op.Details.Partition, op.Details.Offset = strconv.Itoa(int(r.Partition)), r.Offset
		}
		op.EndAs(guanlanFailure(err), err)
		if promise != nil {
			defer sdk.EnterLocal(op.Ctx()).Leave()
			promise(r, err)
		}
	}
}

// guanlanContext ends with one context, and has the values of another before its
// own.
type guanlanContext struct {
	context.Context
	values context.Context
}

func (c guanlanContext) Value(key interface{}) interface{} {
	if v := c.values.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key)
}

func guanlanFailure(err error) string {
	var ke *kerr.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &ke):
		return ke.Message
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrRecordTimeout):
		return "timeout"
	case errors.Is(err, ErrMaxBuffered):
		return "buffer_full"
	case errors.Is(err, ErrClientClosed):
		return "client_closed"
	}
	return "_OTHER"
}

// guanlanFetched is the context of a record that was fetched: within what came in
// its headers.
type guanlanFetched struct {
	context.Context
	cl *Client
}

type guanlanFetchedKey struct{}

func (c *guanlanFetched) Value(key interface{}) interface{} {
	if key == (guanlanFetchedKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// guanlanPoll is called when the program asks for records, what it returns with
// what it gets.
func (cl *Client) guanlanPoll() func(Fetches) {
	if !guanlanRuns() {
		return func(Fetches) {}
	}
	cl.guanlan.Next()
	began := time.Now()
	return func(fetches Fetches) {
		took := time.Since(began)
		var all []*Record
		for i := range fetches {
			for j := range fetches[i].Topics {
				t, n := &fetches[i].Topics[j], 0
				var failed error
				for k := range t.Partitions {
					p := &t.Partitions[k]
					if failed == nil && p.Err != nil && !errors.Is(p.Err, context.Canceled) && !errors.Is(p.Err, context.DeadlineExceeded) && !errors.Is(p.Err, ErrClientClosed) {
						failed = p.Err
					}
					for _, r := range p.Records {
						// A hook of the program's may have read the headers already.
						ctx := r.Context
						if ctx == nil {
							ctx = context.Background()
						}
						if len(sdk.Propagator{}.AppendEntries(nil, ctx)) == 0 {
							ctx = sdk.Propagator{}.Extract(ctx, guanlanHeaders{r})
						}
						r.Context = &guanlanFetched{ctx, cl}
					}
					all, n = append(all, p.Records...), n+len(p.Records)
				}
				if n > 0 || failed != nil {
					cl.guanlanMessaging(t.Topic).Received(n, took, failed)
				}
			}
		}
		if len(all) == 0 {
			return
		}
		// For programs that go through slices of records: a span for all of them,
		// if something happens that has to belong to one.
		cl.guanlan.BeginWhenAsked(func() *sdk.MessageOperation {
			if len(all) == 1 {
				return cl.guanlanMessaging(all[0].Topic).Process(all[0].Context, guanlanDetails(all[0]))
			}
			topic := all[0].Topic
			for _, r := range all {
				if r.Topic != topic {
					topic = ""
					break
				}
			}
			op := cl.guanlanMessaging(topic).Process(context.Background(), sdk.MessageDetails{Count: len(all)})
			for _, r := range all {
				op.Link(r.Context)
			}
			return op
		})
	}
}

func guanlanDetails(r *Record) sdk.MessageDetails {
	return sdk.MessageDetails{Partition: strconv.Itoa(int(r.Partition)), Offset: r.Offset, Size: len(r.Value)}
}

// guanlanNext begins the work on a record, which lasts until the program asks for
// another one or whether there is any.
func (i *FetchesRecordIter) guanlanNext(r *Record) {
	i.guanlanDone()
	if f := guanlanOf(r); f != nil {
		if ctx := f.cl.guanlan.Begin(f.cl.guanlanMessaging(r.Topic), r.Context, guanlanDetails(r)); ctx != nil {
			i.guanlan, r.Context = f.cl, ctx
		}
	}
}

func (i *FetchesRecordIter) guanlanDone() {
	if i.guanlan != nil {
		i.guanlan.guanlan.Next()
		i.guanlan = nil
	}
}

// guanlanOf is what is known of a record that was fetched, or nil.
func guanlanOf(r *Record) *guanlanFetched {
	if r == nil || r.Context == nil {
		return nil
	}
	f, _ := r.Context.Value(guanlanFetchedKey{}).(*guanlanFetched)
	return f
}

// guanlanEach is the work on a record within a function.
func guanlanEach(r *Record, fn func(*Record)) {
	f := guanlanOf(r)
	if f == nil {
		fn(r)
		return
	}
	op := f.cl.guanlanMessaging(r.Topic).Process(r.Context, guanlanDetails(r))
	r.Context = op.Ctx()
	defer op.End(nil)
	defer sdk.EnterLocal(op.Ctx()).Leave()
	fn(r)
}
