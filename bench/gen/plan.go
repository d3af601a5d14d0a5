// Package gen makes telemetry that looks like that of a shop of Go services:
// spans, log records and metric samples, already encoded as the senders put
// them on the wire.
//
// Everything follows from a seed and the number of a batch. Batches can be
// made in any order, by several goroutines, and once more afterwards to learn
// what a store must answer. No value depends on the clock unless the caller
// asks for live batches.
package gen

import (
	"math/rand/v2"
	"time"
)

// Sizes of the made world.
const (
	SpansPerTrace = 10
	LogsPerTrace  = 5 // half a record a span
	Users         = 100_000

	instancesPerService = 6
)

// Form is how a span is put on the wire.
type Form int

// Forms of a span.
const (
	// Spans is OTLP ExportTraceServiceRequest.
	Spans Form = iota
	// Rows is OTLP ExportLogsServiceRequest with one log record a span, for
	// engines that know logs only: the same resource, ids and attributes, and
	// name, kind, status, duration and parent as more attributes. The time of
	// the record is the end of the span, from which its start follows.
	Rows
)

// Plan is a fixed amount of telemetry over a stretch of event time. It is
// immutable and safe for concurrent use.
type Plan struct {
	seed    uint64
	start   time.Time
	step    time.Duration // event time that one batch covers
	traces  int           // of one batch
	batches int
	world   [2]*world // by Form
}

// NewPlan plans spans from start to end in batches of perBatch spans. Both
// numbers are rounded up to whole traces and whole batches.
func NewPlan(seed uint64, start, end time.Time, spans, perBatch int) *Plan {
	traces := max(1, (perBatch+SpansPerTrace-1)/SpansPerTrace)
	batches := max(1, (spans+traces*SpansPerTrace-1)/(traces*SpansPerTrace))
	return &Plan{
		seed:    seed,
		start:   start,
		step:    max(1, end.Sub(start)/time.Duration(batches)),
		traces:  traces,
		batches: batches,
		world:   [2]*world{newWorld(Spans), newWorld(Rows)},
	}
}

// Batches is how many batches the plan has.
func (p *Plan) Batches() int { return p.batches }

// SpansPerBatch is how many spans each batch has.
func (p *Plan) SpansPerBatch() int { return p.traces * SpansPerTrace }

// Spans is how many spans the plan has.
func (p *Plan) Spans() int { return p.batches * p.SpansPerBatch() }

// Start is where the event time of the plan begins.
func (p *Plan) Start() time.Time { return p.start }

// End is where the event time of the plan ends; no span ends later.
func (p *Plan) End() time.Time { return p.start.Add(time.Duration(p.batches) * p.step) }

// Services names the services.
func (p *Plan) Services() []string {
	names := make([]string, len(p.world[Spans].services))
	for i, s := range p.world[Spans].services {
		names[i] = s.name
	}
	return names
}

// Maker makes the batches of a plan. It reuses its memory: what a method
// returns is valid until the next call. Not safe for concurrent use.
type Maker struct {
	plan  *Plan
	pcg   rand.PCG
	spans []Span
	enc   encoder
	logs  encoder
}

// Maker returns a new maker, one for each goroutine.
func (p *Plan) Maker() *Maker {
	return &Maker{plan: p}
}

// Shape returns the spans of batch i as facts.
func (m *Maker) Shape(i int) []Span {
	from := m.plan.start.Add(time.Duration(i) * m.plan.step)
	return m.ShapeAt(i, from, from.Add(m.plan.step))
}

// ShapeAt is Shape with the traces ending between from and to.
func (m *Maker) ShapeAt(i int, from, to time.Time) []Span {
	m.pcg.Seed(m.plan.seed, uint64(i))
	m.spans = m.plan.world[Spans].shape(m.spans[:0], &m.pcg, m.plan.traces, from.UnixNano(), to.UnixNano())
	return m.spans
}

// Spans returns batch i as an OTLP request.
func (m *Maker) Spans(i int, form Form) []byte {
	m.Shape(i)
	return m.encode(form)
}

// SpansAt is Spans with the traces ending between from and to.
func (m *Maker) SpansAt(i int, form Form, from, to time.Time) []byte {
	m.ShapeAt(i, from, to)
	return m.encode(form)
}

func (m *Maker) encode(form Form) []byte {
	w := m.plan.world[form]
	m.enc.reset(w)
	for i := range m.spans {
		m.enc.span(&m.spans[i], form)
	}
	return m.enc.request()
}

// Logs returns the log records of batch i, LogsPerTrace of each trace, as an
// OTLP request.
func (m *Maker) Logs(i int) []byte {
	m.Shape(i)
	return m.encodeLogs(i)
}

// LogsAt is Logs with the traces ending between from and to.
func (m *Maker) LogsAt(i int, from, to time.Time) []byte {
	m.ShapeAt(i, from, to)
	return m.encodeLogs(i)
}

func (m *Maker) encodeLogs(i int) []byte {
	// Another stream of the generator, so that logs change nothing of spans.
	m.pcg.Seed(^m.plan.seed, uint64(i))
	m.logs.reset(m.plan.world[Rows])
	for t := 0; t < len(m.spans); t += SpansPerTrace {
		m.logs.records(m.spans[t:t+SpansPerTrace], &m.pcg)
	}
	return m.logs.request()
}
