package sdk

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unsafe"
)

// response notes what is answered.
type response struct {
	http.ResponseWriter
	written int64
	status  int16
	quiet   bool // it is not to be told of: a probe
	streams bool // events, for as long as the client wants
	// These are of the request; they take no room here.
	described, panicked bool
	untold              bool // its ids are still to be written into the header
}

// owner is the request that a response with ids stands in.
func (w *response) owner() *request {
	return (*request)(unsafe.Add(unsafe.Pointer(w), -int(unsafe.Offsetof(request{}.response))))
}

// writeIDs writes the ids into the header, unless the handler has: at the last
// moment, so that a proxy that adds what it got from behind does not double them.
func (w *response) writeIDs() {
	if w.untold {
		w.writeIDsTo(w.ResponseWriter.Header())
	}
}

func (w *response) writeIDsTo(h http.Header) {
	if !w.untold {
		return
	}
	w.untold = false
	q := w.owner()
	names := q.server().idHeaders
	if _, there := h[names.request]; !there && names.request != "" {
		h[names.request] = unsafe.Slice(&q.Operation.request, 1)
	}
	if names.biz != "" {
		if id := BizID(q.handle.Context); id != "" {
			if _, there := h[names.biz]; !there {
				h[names.biz] = []string{id}
			}
		}
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	w.writeIDs()
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = int16(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriter.Write(b)
	w.written += int64(n)
	return n, err
}

// WriteString is for io.WriteString.
func (w *response) WriteString(s string) (int, error) {
	w.begin()
	n, err := io.WriteString(w.ResponseWriter, s)
	w.written += int64(n)
	return n, err
}

func (w *response) begin() {
	if w.status == 0 {
		w.writeIDs()
		w.status = http.StatusOK
	}
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// capable gives w the methods that the writer below has, of those that handlers
// look for. The writers of net/http have them all, for HTTP/1 and 2. The
// conversions cost nothing: each type is response and methods, no more.
func (w *response) capable() http.ResponseWriter {
	_, flusher := w.ResponseWriter.(http.Flusher)
	_, hijacker := w.ResponseWriter.(http.Hijacker)
	_, readerFrom := w.ResponseWriter.(io.ReaderFrom)
	_, pusher := w.ResponseWriter.(http.Pusher)
	switch {
	case flusher && hijacker && readerFrom:
		return (*response1)(unsafe.Pointer(w))
	case flusher && hijacker:
		return (*responseFlushHijacker)(unsafe.Pointer(w))
	case flusher && pusher:
		return (*response2)(unsafe.Pointer(w))
	case flusher:
		return (*responseFlusher)(unsafe.Pointer(w))
	case hijacker:
		return (*responseHijacker)(unsafe.Pointer(w))
	}
	return w
}

// responseOf is the response that w is; nil when w is another's.
func responseOf(w http.ResponseWriter) *response {
	switch w := w.(type) {
	case *response:
		return w
	case *response1:
		return &w.response
	case *response2:
		return &w.response
	case *responseFlusher:
		return &w.response
	case *responseHijacker:
		return &w.response
	case *responseFlushHijacker:
		return &w.response
	}
	return nil
}

// responseFlusher is of a writer that can flush, as all of net/http can.
type responseFlusher struct{ response }

// Flush implements http.Flusher.
func (w *responseFlusher) Flush() {
	w.beginFlush()
	w.ResponseWriter.(http.Flusher).Flush()
}

func (w *response) beginFlush() {
	w.begin()
	// Whoever streams flushes: others need not be asked.
	if !w.streams {
		w.streams = isEventStream(w.ResponseWriter.Header())
	}
}

// isEventStream reports whether h is that of server-sent events.
func isEventStream(h http.Header) bool {
	const events = "text/event-stream"
	v := h["Content-Type"]
	return len(v) > 0 && len(v[0]) >= len(events) && strings.EqualFold(v[0][:len(events)], events)
}

// FlushError is for http.ResponseController.
func (w *responseFlusher) FlushError() error {
	w.beginFlush()
	if f, ok := w.ResponseWriter.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	w.ResponseWriter.(http.Flusher).Flush()
	return nil
}

// CloseNotify implements http.CloseNotifier, which is deprecated; but frameworks
// take for granted that whatever can flush has it. Of a writer that has not, the
// channel stays silent.
func (w *responseFlusher) CloseNotify() <-chan bool {
	if n, ok := w.ResponseWriter.(interface{ CloseNotify() <-chan bool }); ok {
		return n.CloseNotify()
	}
	return nil
}

// What the writers of net/http have beside. Most handlers use
// http.ResponseController, not all.

// SetReadDeadline is that of http.ResponseController.
func (w *responseFlusher) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

// SetWriteDeadline is that of http.ResponseController.
func (w *responseFlusher) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

// EnableFullDuplex is that of http.ResponseController.
func (w *responseFlusher) EnableFullDuplex() error {
	return http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
}

type responseHijacker struct{ response }

// Hijack implements http.Hijacker.
func (w *responseHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

type responseFlushHijacker struct{ responseFlusher }

// Hijack implements http.Hijacker.
func (w *responseFlushHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

func (w *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := w.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, buf, err
}

// response1 is what HTTP/1 has.
type response1 struct{ responseFlushHijacker }

// ReadFrom lets the kernel copy files. A header is written with the first bytes:
// when r gives none, the answer may still be another.
func (w *response1) ReadFrom(r io.Reader) (int64, error) {
	before := w.status
	w.begin() // already now: r may panic when a part is out
	n, err := w.ResponseWriter.(io.ReaderFrom).ReadFrom(r)
	if n == 0 {
		w.status = before
	}
	w.written += n
	return n, err
}

// response2 is what HTTP/2 has.
type response2 struct{ responseFlusher }

// Push implements http.Pusher.
func (w *response2) Push(target string, opts *http.PushOptions) error {
	return w.ResponseWriter.(http.Pusher).Push(target, opts)
}
