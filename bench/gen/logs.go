package gen

import (
	"encoding/binary"
	"math/rand/v2"
)

// records appends LogsPerTrace records about spans of one trace.
func (e *encoder) records(trace []Span, r *rand.PCG) {
	for i := range LogsPerTrace {
		v := r.Uint64()
		// Every second span, now the one and now the other.
		s := &trace[2*i+int(v>>63)]
		severity, text := byte(9), "INFO"
		e.value = e.value[:0]
		switch {
		case s.Error:
			severity, text = 17, "ERROR"
			e.say("request failed: ", failures[v%uint64(len(failures))], " while calling ", serviceNames[v>>8%uint64(len(serviceNames))], " after ")
			e.count((s.End - s.Start) / 1e6)
			e.say(" ms; retrying with backoff")
		case v%16 == 0:
			severity, text = 13, "WARN"
			e.say("slow statement on ", tables[v>>8%uint64(len(tables))], " took ")
			e.count((s.End - s.Start) / 1e3)
			e.say(" us, rows examined ")
			e.count(int64(v >> 44))
		case v%16 < 4:
			severity, text = 5, "DEBUG"
			e.say("cache lookup key=")
			e.value = appendHex(e.value, s.SpanID[:6])
			e.say(" hit=", [...]string{"false", "true"}[v>>4&1], " shard=")
			e.count(int64(v >> 58))
		default:
			e.say("handled ", s.Name, " user=")
			e.value = appendUser(e.value, s.User)
			e.say(" bytes=")
			e.count(int64(v >> 50))
		}
		// A record falls into the second half of its span.
		at := uint64(s.End - (s.End-s.Start)*int64(v>>32&0xff)/512)

		b := appendFixed64(e.scratch[:0], 1, at)
		b = appendFixed64(b, 11, at)
		b = append(b, 2<<3|varintOf, severity)
		b = appendText(b, 3, text)
		n := len(e.value)
		b = appendTag(b, 5<<3|bytesOf, 1+varintSize(n)+n)
		b = appendTag(b, 1<<3|bytesOf, n)
		b = append(b, e.value...)
		b = e.w.text(b, "code.function.name", "(*Service).Handle")
		b = e.w.number(b, "code.line.number", int64(v>>20%900))
		b = e.w.number(b, "thread.id", int64(v>>52))
		b = append(b, 8<<3|fixed32Of)
		b = binary.LittleEndian.AppendUint32(b, traceFlags)
		b = appendBytes(b, 9, s.TraceID[:])
		e.scratch = appendBytes(b, 10, s.SpanID[:])
		e.add(s.service*instancesPerService + s.instance)
	}
}

func (e *encoder) say(parts ...string) {
	for _, p := range parts {
		e.value = append(e.value, p...)
	}
}

func (e *encoder) count(n int64) { e.value = appendInt(e.value, n) }
