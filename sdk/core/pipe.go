package core

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// Pipe takes encoded spans or log records and sends them in batches. Both
// signals have the same frame in OTLP: a request holds resources, a resource
// holds scopes, a scope holds items.
//
// Adding costs a lock and a copy. Batches are bytes of the request already, in
// buffers that go round: the memory of a pipe is bounded by PipeOptions.Bytes,
// whatever the receiver does. What does not fit is dropped and counted, the
// newest first, because what waits is already paid for.
type Pipe struct {
	opts     PipeOptions
	resource []byte // encoded field of ResourceSpans

	mu      sync.Mutex
	current *batch
	timer   *time.Timer // of current; nil when current is empty
	ready   []*batch    // waiting for a sender, oldest first
	free    []*batch
	size    int    // bytes of all batches, those being sent included
	begun   uint64 // number of the current batch
	pending map[uint64]struct{}
	settled *sync.Cond // of mu: a batch has left pending
	stats   PipeStats
	closed  bool
	wake    chan struct{} // has room for a token for each sender
	senders sync.WaitGroup
	stop    context.CancelFunc // ends requests
}

// PipeOptions configure a Pipe. The zero value of a field is its default.
type PipeOptions struct {
	// Send transmits one request; the body is the pipe's again after it has
	// returned. It retries as it sees fit, and returns when ctx ends. Without,
	// the pipe is for what nobody wants: it takes nothing and counts nothing.
	Send func(ctx context.Context, body []byte, items int) (rejected int, err error)
	// Failed hears of batches that were given up. It must not block.
	Failed func(items int, err error)
	// Bytes bounds what waits and what is being sent. Default 16 MiB.
	Bytes int
	// BatchBytes is when a batch is sent without waiting. Default 512 KiB.
	BatchBytes int
	// Delay is how long an item waits for others. Default 1 s.
	Delay time.Duration
	// Senders is how many requests are under way at a time. Default 2: one
	// alone limits a service to a batch in a round trip.
	Senders int
}

// PipeStats counts items since the start.
type PipeStats struct {
	Added    uint64 // sent ones and those that still wait included
	Sent     uint64 // and taken by the receiver
	Full     uint64 // dropped because the pipe was full or closed
	Failed   uint64 // given up after retries
	Rejected uint64 // sent and turned down by the receiver
	Waiting  int    // bytes
}

// Scope is the instrumentation scope of items.
type Scope struct {
	encoded []byte // fields of ScopeSpans but for the items
}

type batch struct {
	number uint64
	items  int
	size   int
	parts  []part
}

// part is the items of one scope, encoded as fields of a ScopeSpans.
type part struct {
	scope *Scope
	items []byte
}

const (
	defaultPipeBytes  = 16 << 20
	defaultBatchBytes = 512 << 10
	defaultDelay      = time.Second
	defaultSenders    = 2
	// keptBatch is the largest batch whose buffers are used again.
	keptBatch = 2 * defaultBatchBytes

	requestResources = 1 // of an export request
	resourceField    = 1 // of ResourceSpans and ResourceLogs
	resourceScopes   = 2
	scopeItems       = 2 // of ScopeSpans and ScopeLogs
)

// ErrClosed is returned by Flush of a pipe that was closed.
var ErrClosed = errors.New("the pipe is closed")

// NewPipe starts a pipe. resource is the encoded fields of a ResourceSpans but
// for its scopes, as EncodeResource makes them.
func NewPipe(resource []byte, opts PipeOptions) *Pipe {
	opts.Bytes = orDefault(opts.Bytes, defaultPipeBytes)
	opts.BatchBytes = min(orDefault(opts.BatchBytes, defaultBatchBytes), opts.Bytes)
	opts.Delay = orDefault(opts.Delay, defaultDelay)
	opts.Senders = orDefault(opts.Senders, defaultSenders)
	p := &Pipe{opts: opts, resource: resource, current: new(batch), pending: map[uint64]struct{}{}, wake: make(chan struct{}, opts.Senders)}
	p.settled = sync.NewCond(&p.mu)
	if opts.Send == nil {
		p.opts.Senders = 0
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	for range p.opts.Senders {
		p.senders.Add(1)
		go p.sendLoop(ctx)
	}
	return p
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Add copies an encoded item into the current batch. It does not block; false
// when the item was dropped.
func (p *Pipe) Add(scope *Scope, item []byte) bool { return p.add(scope, item, 100) }

// add is Add into the first per cent of the room.
func (p *Pipe) add(scope *Scope, item []byte, room int) bool {
	if p.opts.Send == nil {
		return false
	}
	need := len(item) + 1 + binary.MaxVarintLen32
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.size+need > p.opts.Bytes*room/100 {
		p.stats.Full++
		return false
	}
	b := p.current
	if b.items == 0 {
		p.begun++
		b.number = p.begun
		if p.timer == nil {
			p.timer = time.AfterFunc(p.opts.Delay, p.due)
		} else {
			p.timer.Reset(p.opts.Delay)
		}
	}
	part := b.part(scope)
	before := len(part.items)
	part.items = appendBytes(part.items, scopeItems, item)
	grown := len(part.items) - before
	b.items++
	b.size += grown
	p.size += grown
	p.stats.Added++
	if b.size >= p.opts.BatchBytes {
		p.turn()
	}
	return true
}

// part finds the part of a scope. There are few scopes, and the last one that
// was added to is looked at first.
func (b *batch) part(scope *Scope) *part {
	for i := len(b.parts) - 1; i >= 0; i-- {
		if b.parts[i].scope == scope {
			return &b.parts[i]
		}
	}
	if len(b.parts) < cap(b.parts) { // its buffer is used again
		b.parts = b.parts[:len(b.parts)+1]
		b.parts[len(b.parts)-1].scope = scope
	} else {
		b.parts = append(b.parts, part{scope: scope})
	}
	return &b.parts[len(b.parts)-1]
}

// due sends what has waited long enough.
func (p *Pipe) due() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn()
}

// turn hands the current batch to the senders, if there is anything in it. mu
// is held.
func (p *Pipe) turn() {
	b := p.current
	if b.items == 0 {
		return
	}
	p.timer.Stop() // if it fires all the same, the next batch goes early
	p.ready = append(p.ready, b)
	p.pending[b.number] = struct{}{}
	if n := len(p.free); n > 0 {
		p.current, p.free = p.free[n-1], p.free[:n-1]
	} else {
		p.current = new(batch)
	}
	select {
	case p.wake <- struct{}{}:
	default: // all senders have been woken
	}
}

func (p *Pipe) sendLoop(ctx context.Context) {
	defer p.senders.Done()
	var body []byte
	for {
		b := p.next()
		if b == nil {
			if _, open := <-p.wake; !open {
				return
			}
			continue
		}
		body = p.encode(body[:0], b)
		rejected, err := p.opts.Send(ctx, body, b.items)
		if err != nil && p.opts.Failed != nil {
			p.opts.Failed(b.items, err)
		}
		p.sent(b, rejected, err)
		if cap(body) > keptBatch {
			body = nil
		}
	}
}

// next is the batch that has waited longest, nil when there is none.
func (p *Pipe) next() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		return nil
	}
	b := p.ready[0]
	p.ready[0] = nil
	p.ready = p.ready[1:]
	return b
}

// sent takes a batch back.
func (p *Pipe) sent(b *batch, rejected int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch rejected = max(0, min(rejected, b.items)); {
	case err != nil:
		p.stats.Failed += uint64(b.items)
	default:
		p.stats.Rejected += uint64(rejected)
		p.stats.Sent += uint64(b.items - rejected)
	}
	p.size -= b.size
	delete(p.pending, b.number)
	p.settled.Broadcast()
	if b.size <= keptBatch && len(p.free) < p.opts.Senders+1 {
		for i := range b.parts {
			b.parts[i] = part{items: b.parts[i].items[:0]}
		}
		*b = batch{parts: b.parts[:0]}
		p.free = append(p.free, b)
	}
}

// encode appends an export request.
func (p *Pipe) encode(dst []byte, b *batch) []byte {
	size := len(p.resource)
	for i := range b.parts {
		size += sizeOfBytes(b.parts[i].size())
	}
	dst = appendHead(dst, requestResources, size)
	dst = append(dst, p.resource...)
	for i := range b.parts {
		part := &b.parts[i]
		dst = appendHead(dst, resourceScopes, part.size())
		dst = append(dst, part.scope.encoded...)
		dst = append(dst, part.items...)
	}
	return dst
}

func (p *part) size() int { return len(p.scope.encoded) + len(p.items) }

// appendHead begins a message field of a known size, of one of the first 15
// fields.
func appendHead(b []byte, field, size int) []byte {
	return binary.AppendUvarint(appendTag(b, field, wireBytes), uint64(size))
}

// sizeOfBytes is what such a field takes as a whole.
func sizeOfBytes(size int) int {
	n := 1 + size
	for v := size; ; v >>= 7 {
		n++
		if v < 0x80 {
			return n
		}
	}
}

// Stats counts what happened so far.
func (p *Pipe) Stats() PipeStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Waiting = p.size
	return s
}

// Flush sends what was added before, and waits until it is sent or given up, or
// ctx ends.
func (p *Pipe) Flush(ctx context.Context) error {
	defer wakeAtEnd(ctx, p.settled)()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	return p.flush(ctx)
}

// wakeAtEnd wakes those that wait for c when ctx ends, until stop is called.
func wakeAtEnd(ctx context.Context, c *sync.Cond) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		c.L.Lock()
		defer c.L.Unlock()
		c.Broadcast()
	})
}

// flush is Flush while mu is held.
func (p *Pipe) flush(ctx context.Context) error {
	p.turn()
	last := p.begun
	for p.waitsFor(last) {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.settled.Wait()
	}
	return nil
}

// waitsFor reports whether a batch up to number last is under way.
func (p *Pipe) waitsFor(last uint64) bool {
	for number := range p.pending {
		if number <= last {
			return true
		}
	}
	return false
}

// Close flushes and ends the pipe. When ctx ends first, requests under way are
// broken off and what is left counts as failed. It may be called again.
func (p *Pipe) Close(ctx context.Context) error {
	defer wakeAtEnd(ctx, p.settled)()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.senders.Wait()
		return nil
	}
	p.closed = true
	err := p.flush(ctx)
	left := p.ready
	p.ready = nil
	p.mu.Unlock()
	for _, b := range left {
		p.sent(b, 0, context.Cause(ctx))
	}
	p.stop()
	close(p.wake)
	p.senders.Wait()
	return err
}
