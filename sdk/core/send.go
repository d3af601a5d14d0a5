package core

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Sender sends export requests as OTLP over HTTP, protobuf encoded.
//
// What a receiver may be able to take later (429, 502, 503, 504, no
// connection) is sent again, after as long as it asks for or else after
// growing, jittered pauses, until SenderOptions.GiveUp has passed.
// Source: OTLP specification 1.9, "OTLP/HTTP Response".
type Sender struct {
	opts   SenderOptions
	url    string
	header http.Header
	zips   chan *gzip.Writer // nil without compression
}

// SenderOptions configure a Sender. The zero value of a field is its default.
type SenderOptions struct {
	URL     string            // with path, as http://localhost:4318/v1/traces; required
	Headers map[string]string // sent with each request
	Gzip    bool
	Timeout time.Duration // of one try; default DefaultTimeout
	GiveUp  time.Duration // of all tries of a request; default DefaultGiveUp
	TLS     *tls.Config   // authorities and certificates; a Client has its own
	// Client sends the requests. The default has connections of its own, so
	// that what wraps http.DefaultTransport does not trace them. Redirects
	// are not followed.
	Client *http.Client
}

// Defaults of SenderOptions.
const (
	DefaultTimeout = 10 * time.Second // that of the OTLP specification
	DefaultGiveUp  = time.Minute
)

const (
	firstPause   = 500 * time.Millisecond
	longestPause = 15 * time.Second
	// maxAnswer is how much of an answer is read.
	maxAnswer = 64 << 10
	// maxReason is how much of it is told.
	maxReason = 256
)

// NewSender checks the options.
func NewSender(opts SenderOptions) (*Sender, error) {
	u, err := url.Parse(opts.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("OTLP endpoint %q: want a URL as http://host:4318/v1/traces", redacted(u, opts.URL))
	}
	opts.Timeout = orDefault(opts.Timeout, DefaultTimeout)
	opts.GiveUp = orDefault(opts.GiveUp, DefaultGiveUp)
	if opts.Client == nil {
		t := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: defaultSenders, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: DefaultTimeout}
		if opts.TLS != nil {
			t.TLSClientConfig, t.ForceAttemptHTTP2 = opts.TLS, true // which it does by itself without
		}
		opts.Client = &http.Client{Transport: t}
	}
	client := *opts.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	opts.Client = &client
	s := &Sender{opts: opts, url: u.String(), header: http.Header{
		"Content-Type": {"application/x-protobuf"},
		"User-Agent":   {"Guanlan-SDK-Go"},
	}}
	for k, v := range opts.Headers {
		s.header.Set(k, v)
	}
	if opts.Gzip {
		s.header.Set("Content-Encoding", "gzip")
		s.zips = make(chan *gzip.Writer, defaultSenders)
	}
	return s, nil
}

// redacted keeps a password in a URL out of errors.
func redacted(u *url.URL, text string) string {
	if u != nil {
		return u.Redacted()
	}
	if strings.Contains(text, "@") {
		return "…"
	}
	return text
}

// Send transmits one request. It reports how many items the receiver took the
// request but not them.
func (s *Sender) Send(ctx context.Context, body []byte, _ int) (rejected int, err error) {
	if s.zips != nil {
		if body, err = s.zip(body); err != nil {
			return 0, fmt.Errorf("compress export request: %w", err)
		}
	}
	return Retry(ctx, s.opts.GiveUp, func(ctx context.Context) (int, error) { return s.try(ctx, body) })
}

// Retryable is the error of a try that may work later.
type Retryable struct {
	Err   error
	After time.Duration // what the receiver asks for; 0: it says nothing
}

// Error implements error.
func (r *Retryable) Error() string { return r.Err.Error() }

// Unwrap gives the error itself.
func (r *Retryable) Unwrap() error { return r.Err }

// exiting is closed when the process ends.
var (
	exiting  = make(chan struct{})
	exitOnce sync.Once
)

// Exiting says that the process ends, and waits for what is sent: what fails from
// now on is not tried again, and what waits for its next try is tried a last time
// at once. A process without a receiver must not be held up by it.
func Exiting() { exitOnce.Do(func() { close(exiting) }) }

// Retry calls try until it works or fails for good, pausing after each
// Retryable error as long as the receiver asks for or else longer each time,
// until giveUp has passed, ctx ends or the process does.
func Retry(ctx context.Context, giveUp time.Duration, try func(context.Context) (rejected int, err error)) (rejected int, err error) {
	began := time.Now()
	last := false
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		select {
		case <-exiting:
			last = true
		default:
		}
		rejected, err := try(ctx)
		var again *Retryable
		if err == nil || !errors.As(err, &again) {
			return rejected, err
		}
		// Jitter keeps many services from coming back at once.
		wait := max(again.After, pause/2+rand.N(pause))
		if time.Since(began)+wait > giveUp {
			return 0, fmt.Errorf("give up after %v: %w", time.Since(began).Round(time.Millisecond), err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return 0, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-exiting:
			timer.Stop()
			if last {
				return 0, fmt.Errorf("give up at the end of the process: %w", err)
			}
			last = true
		case <-timer.C:
		}
	}
}

func (s *Sender) try(ctx context.Context, body []byte) (rejected int, err error) {
	ctx, cancel := context.WithTimeout(Own(ctx), s.opts.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("make export request: %w", err)
	}
	req.Header = s.header.Clone()
	res, err := s.opts.Client.Do(req)
	if err != nil {
		return 0, &Retryable{Err: err}
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		if err == nil {
			rejected = RejectedItems(answer)
		}
		return rejected, nil
	case code == http.StatusTooManyRequests, code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return 0, &Retryable{s.refused(res, answer), retryAfter(res.Header.Get("Retry-After"))}
	default:
		return 0, s.refused(res, answer)
	}
}

type ownKey struct{}

// Own marks what is done in ctx as the business of telemetry itself, which is not
// to be told of: or else each export makes the next.
func Own(ctx context.Context) context.Context { return context.WithValue(ctx, ownKey{}, true) }

// IsOwn reports whether ctx is of Own.
func IsOwn(ctx context.Context) bool { return ctx.Value(ownKey{}) != nil }

func (s *Sender) refused(res *http.Response, answer []byte) error {
	return fmt.Errorf("export to %s: %s: %q", res.Request.URL.Redacted(), res.Status, reason(answer))
}

// reason is what an answer says: the message of a google.rpc.Status, or text.
func reason(answer []byte) string {
	text := string(answer)
	if message, ok := findField(answer, 2); ok {
		text = string(message)
	}
	return strings.ToValidUTF8(cut(text, maxReason), "\uFFFD")
}

// retryAfter reads seconds; a date is not worth the trouble.
func retryAfter(s string) time.Duration {
	seconds, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// RejectedItems reads the partial success of the answer to an export request of
// any signal.
func RejectedItems(answer []byte) int {
	partial, ok := findField(answer, 1)
	if !ok {
		return 0
	}
	for len(partial) > 0 {
		tag, n := binary.Uvarint(partial)
		if n <= 0 {
			return 0
		}
		partial = partial[n:]
		if tag == 1<<3|wireVarint {
			v, n := binary.Uvarint(partial)
			if n <= 0 {
				return 0
			}
			return int(min(v, 1<<31))
		}
		if partial, ok = skipField(partial, int(tag&7)); !ok {
			return 0
		}
	}
	return 0
}

// findField finds a field of bytes in a message; false when there is none or
// the message is malformed before it.
func findField(b []byte, field int) (value []byte, ok bool) {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, false
		}
		b = b[n:]
		if tag == uint64(field)<<3|wireBytes {
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return nil, false
			}
			return b[n : n+int(size)], true
		}
		if b, ok = skipField(b, int(tag&7)); !ok {
			return nil, false
		}
	}
	return nil, false
}

func skipField(b []byte, wire int) (rest []byte, ok bool) {
	size := 0
	switch wire {
	case wireVarint:
		if _, size = binary.Uvarint(b); size <= 0 {
			return nil, false
		}
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireBytes:
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)-n) {
			return nil, false
		}
		size = n + int(v)
	default:
		return nil, false
	}
	if size > len(b) {
		return nil, false
	}
	return b[size:], true
}

// zip compresses at the fastest level: the receiver is near, CPU is the
// service's.
func (s *Sender) zip(body []byte) ([]byte, error) {
	var w *gzip.Writer
	out := bytes.NewBuffer(make([]byte, 0, len(body)/4))
	select {
	case w = <-s.zips:
		w.Reset(out)
	default:
		w, _ = gzip.NewWriterLevel(out, gzip.BestSpeed) // the level is valid
	}
	_, err := w.Write(body)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	select {
	case s.zips <- w:
	default:
	}
	return out.Bytes(), nil
}
