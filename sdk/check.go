package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// check is a Check and whether it runs.
type check struct {
	name     string
	run      Check
	optional bool
	since    atomic.Int64 // when the run that is under way began, ns since 1970; 0: none is
}

// round is one run of all checks.
type round struct {
	done     chan struct{} // closed when outcomes are there
	at       time.Time     // when it ended
	stale    bool          // a check was added since it began
	outcomes []CheckReport
}

// outcomes are those of a fresh round, of the one under way or of a new one.
func (h *Health) outcomes(ctx context.Context) []CheckReport {
	fresh := orDefaultDuration(h.Fresh, defaultHealthFresh)
	h.mu.Lock()
	r := h.round
	if r != nil {
		select {
		case <-r.done:
			if r.stale || time.Since(r.at) >= fresh {
				r = nil
			}
		default:
		}
	}
	if r == nil {
		r = &round{done: make(chan struct{})}
		h.round = r
		// Not of the request that came first: others wait for it, too.
		go h.turn(r, h.checks)
	}
	h.mu.Unlock()
	select {
	case <-r.done:
		return slices.Clone(r.outcomes)
	case <-ctx.Done():
		return []CheckReport{{Name: "probe", Status: HealthFailed, Error: "the probe went away before the checks had ended"}}
	}
}

func orDefaultDuration(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// turn runs the checks. It leaves behind those that do not come back.
func (h *Health) turn(r *round, checks []*check) {
	began := time.Now()
	timeout := orDefaultDuration(h.Timeout, defaultHealthTimeout)
	// What ends with its context needs some time to say so.
	ctx, cancel := context.WithTimeout(untraced(), timeout*9/10)
	defer cancel()
	type outcome struct {
		i    int
		took time.Duration
		err  error
	}
	ended := make(chan outcome, len(checks)) // nobody may be there any more
	r.outcomes = make([]CheckReport, len(checks))
	waiting := 0
	for i, c := range checks {
		r.outcomes[i] = CheckReport{Name: c.name, Optional: c.optional, Status: HealthFailed}
		if since := c.since.Load(); since != 0 {
			r.outcomes[i].set(began.Sub(time.Unix(0, since)), errHangs)
			continue
		}
		c.since.Store(began.UnixNano())
		waiting++
		go func() {
			err := errors.New("the check ended its goroutine")
			defer func() {
				c.since.Store(0)
				ended <- outcome{i, time.Since(began), err}
			}()
			err = caught(func() error { return c.run(ctx) })
		}()
	}
	timer := time.NewTimer(timeout - time.Since(began))
	defer timer.Stop()
	for ; waiting > 0; waiting-- {
		select {
		case o := <-ended:
			r.outcomes[o.i].set(o.took, o.err)
			continue
		case <-timer.C:
		}
		break
	}
	for i := range r.outcomes {
		if o := &r.outcomes[i]; o.Status == HealthFailed && o.Error == "" {
			o.set(time.Since(began), fmt.Errorf("no answer after %v; it does not end with its context", timeout))
		}
	}
	h.measure(r.outcomes)
	r.at = time.Now()
	close(r.done)
}

// untraced is a context in which spans are not kept, not for failing either: a
// check may use clients that are instrumented.
func untraced() context.Context {
	sc := core.SpanContext{TraceID: core.NewTraceID(), SpanID: core.NewSpanID()}
	return &remote{Context: context.WithValue(context.Background(), untracedKey{}, true), span: remoteSpan{sc: sc}, hasSpan: true}
}

// untracedKey is the key of what an untraced context holds.
type untracedKey struct{}

var errHangs = errors.New("an earlier run has not come back; it is not started again before")

func (r *CheckReport) set(took time.Duration, err error) {
	r.Millis = float64(took.Microseconds()) / 1e3
	if r.Status = HealthOK; err != nil {
		r.Status = HealthFailed
		if r.Error = errorText(err); r.Error == "" {
			r.Error = fmt.Sprintf("%T", err)
		}
		if p := panicOf(err); p != nil { // the stack is not for probes
			r.Error = fmt.Sprintf("panic: %v", p.Value)
		}
	}
}

// measure sets the gauge of each check: 1 when it is well. Only turn calls it,
// and one of them runs at a time.
func (h *Health) measure(outcomes []CheckReport) {
	s := Default()
	if s == nil || !s.Enabled() {
		return
	}
	h.mu.Lock()
	if h.gaugeOf != s {
		h.gaugeOf = s
		h.gauge = s.meter(scopeOfSDK, Version).Instrument(core.InstrumentOptions{Name: "guanlan.health.check", Description: "Whether a health check passed when it ran last: 1, or 0.", Unit: "1", Form: core.Gauge, Integer: true})
	}
	gauge := h.gauge
	h.mu.Unlock()
	for _, o := range outcomes {
		well := int64(0)
		if o.Status == HealthOK {
			well = 1
		}
		gauge.With(core.String("guanlan.health.check.name", o.Name), core.Bool("guanlan.health.check.optional", o.Optional)).Set(well)
	}
}

// CheckHTTP makes a check that gets a URL and wants an answer of status 2xx. It
// makes a connection for each, follows no redirects and is not traced. Errors,
// which probes are answered with, name the URL without its password and query.
func CheckHTTP(url string) Check {
	shown := redactURL(url)
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(core.Own(ctx), http.MethodGet, url, nil)
		if err != nil {
			// Why not may have any part of the URL in it.
			return fmt.Errorf("check %s: give it as http://host/path", shown)
		}
		res, err := client.Do(req)
		if err != nil {
			var inner *neturl.Error
			if errors.As(err, &inner) {
				err = inner.Err
			}
			return fmt.Errorf("get %s: %w", shown, err)
		}
		defer res.Body.Close()
		const enough = 64 << 10 // of a body that nobody reads
		_, _ = io.CopyN(io.Discard, res.Body, enough)
		if res.StatusCode < 200 || res.StatusCode > 299 {
			return fmt.Errorf("get %s: status %s", shown, res.Status)
		}
		return nil
	}
}

// redactURL is what of a URL anybody may see who can ask for it: no password and
// no query, which may be a key.
func redactURL(text string) string {
	u, err := neturl.Parse(text)
	if err != nil || u.Opaque != "" {
		return "a URL that cannot be read"
	}
	u.RawQuery, u.Fragment = "", ""
	return strconv.Quote(u.Redacted())
}

// CheckCommand makes a check of a command that answers with something that has
// an error, as those of Redis clients do: sdk.CheckCommand(client.Ping).
func CheckCommand[A interface{ Err() error }](command func(context.Context) A) Check {
	return func(ctx context.Context) error { return command(ctx).Err() }
}

// CheckConn makes a check of a gRPC connection: sdk.CheckConn(conn) with a
// *grpc.ClientConn. An idle one is connected. It waits for READY, and says
// which state the connection is in when that does not come.
func CheckConn[S interface {
	comparable
	String() string
}](conn interface {
	GetState() S
	Connect()
	WaitForStateChange(context.Context, S) bool
}) Check {
	return func(ctx context.Context) error {
		for {
			state := conn.GetState()
			switch state.String() {
			case "READY":
				return nil
			case "TRANSIENT_FAILURE", "SHUTDOWN":
				return fmt.Errorf("the connection is in state %v", state)
			case "IDLE":
				conn.Connect()
			}
			if !conn.WaitForStateChange(ctx, state) {
				return fmt.Errorf("the connection is in state %v: %w", state, context.Cause(ctx))
			}
		}
	}
}
