package sdk

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/baggage"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// How a sampling policy is asked for. The first three are what the OpenTelemetry
// specification and Jaeger's clients have.
const (
	jaegerEndpoint    = "http://localhost:5778"
	jaegerPoll        = time.Minute
	jaegerInitialRate = 0.001
	// guanlanPoll is shorter: an answer that did not change is a few bytes.
	guanlanPoll = 10 * time.Second
	// leastPoll keeps a slip in the unit from flooding the server.
	leastPoll = 100 * time.Millisecond
	// pollTimeout is of one question.
	pollTimeout = 5 * time.Second
	// maxStrategy is how long an answer may be: Jaeger's have some hundred
	// bytes for each operation.
	maxStrategy = 1 << 20
	// pollJitter is the part of the interval by which polls vary, so that
	// services that start together do not ask together for ever.
	pollJitter = 0.2

	tenantHeader = "X-Scope-OrgID"
)

// remoteOptions say where a service asks for its sampling policy.
type remoteOptions struct {
	url    *url.URL // with the service
	every  time.Duration
	tenant string
	client *http.Client // nil: one of its own
}

// remoteSampling reads from the environment where to ask for the policy of the
// sampler that is returned with it; nil when nobody is to be asked.
func (e *environment) remoteSampling(opts *Options, c *config) (*remoteOptions, *core.Adaptive) {
	const name, arg, guanlan = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "GUANLAN_ENDPOINT"
	kind, _ := e.text(name)
	r := &remoteOptions{client: opts.Client}
	wrong := func(want string) { // the value may hold a password: it is not told
		e.errs = append(e.errs, fmt.Errorf("environment variable %s: want %s; what is wrong is left out", arg, want))
	}
	policy, endpoint, source := core.Policy{}, "", guanlan
	switch strings.TrimPrefix(kind, "parentbased_") {
	case "":
		if endpoint, _ = e.text(guanlan); endpoint == "" {
			return nil, nil
		}
		r.every = guanlanPoll
		if !strings.Contains(endpoint, "://") { // as the server's variable of this name has it
			endpoint = "http://" + endpoint
		}
	case "jaeger_remote":
		source, endpoint, r.every = arg, jaegerEndpoint, jaegerPoll
		policy = core.Fixed(jaegerInitialRate)
		for _, p := range e.pairs(arg) {
			switch p[0] {
			case "endpoint":
				endpoint = p[1]
			case "pollingIntervalMs":
				n, err := strconv.ParseInt(p[1], 10, 32)
				if err != nil || n <= 0 {
					wrong("pollingIntervalMs in milliseconds above 0")
					continue
				}
				r.every = max(time.Duration(n)*time.Millisecond, leastPoll)
			case "initialSamplingRate":
				share, err := strconv.ParseFloat(p[1], 64)
				if err != nil || !(share >= 0 && share <= 1) {
					wrong("initialSamplingRate from 0 to 1")
					continue
				}
				policy = core.Fixed(share)
			default:
				wrong("endpoint, pollingIntervalMs and initialSamplingRate only")
			}
		}
	default:
		return nil, nil
	}
	sampler := core.NewAdaptive(policy, time.Now())
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		e.errs = append(e.errs, fmt.Errorf("environment variable %s: want the address to ask for sampling policies, as http://localhost:4390; nobody is asked", source))
		return nil, sampler
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/sampling"
	} else if source == guanlan {
		u = u.JoinPath("sampling")
	}
	q := u.Query()
	q.Set("service", lastOf(c.resource, "service.name"))
	// Servers of Jaeger ignore what only Guanlan's knows.
	q.Set("policy", "full")
	for _, key := range []string{"deployment.environment.name", "deployment.environment"} {
		if env := lastOf(c.resource, key); env != "" {
			q.Set("deployment.environment.name", env)
			break
		}
	}
	u.RawQuery = q.Encode()
	for key, value := range c.traces.Headers {
		if http.CanonicalHeaderKey(key) == http.CanonicalHeaderKey(tenantHeader) {
			r.tenant = value // spans and policy are of one tenant; other headers are for the receiver alone
		}
	}
	r.url = u
	return r, sampler
}

// lastOf is the text of an attribute; of several the last counts.
func lastOf(attrs []core.Attr, key string) (text string) {
	for _, a := range attrs {
		if a.Key == key {
			text, _ = a.Value.Any().(string)
		}
	}
	return text
}

// remotePolicy keeps a sampler at the policy of a server.
type remotePolicy struct {
	opts    remoteOptions
	sampler *core.Adaptive
	failed  func(error)
	own     *http.Transport // or nil: the client is somebody else's
	etag    string          // of the policy that holds
	broken  bool            // the last question failed, and that was told
}

func newRemotePolicy(opts remoteOptions, sampler *core.Adaptive, failed func(error)) *remotePolicy {
	r := &remotePolicy{opts: opts, sampler: sampler, failed: failed}
	var client http.Client
	if opts.client != nil {
		client = *opts.client
	} else {
		r.own = &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: pollTimeout}
		client.Transport = r.own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.opts.client = &client
	return r
}

// loop asks at once and then again and again until ctx ends. What cannot be
// had or read leaves the policy as it was, and is told when it begins.
func (r *remotePolicy) loop(ctx context.Context) {
	if r.own != nil {
		defer r.own.CloseIdleConnections()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := r.ask(ctx)
		if err != nil && !r.broken && ctx.Err() == nil {
			r.failed(fmt.Errorf("ask for the sampling policy; the last one holds on: %w", err))
		}
		r.broken = err != nil
		timer.Reset(jittered(r.opts.every))
	}
}

func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - pollJitter/2 + pollJitter*rand.Float64()))
}

// ask asks once.
func (r *remotePolicy) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(core.Own(ctx), http.MethodGet, r.opts.url.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Guanlan-SDK-Go")
	if r.etag != "" {
		req.Header.Set("If-None-Match", r.etag)
	}
	if r.opts.tenant != "" {
		req.Header.Set(tenantHeader, r.opts.tenant)
	}
	res, err := r.opts.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotModified && r.etag != "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxStrategy+1))
	where := r.opts.url.Redacted()
	switch {
	case err != nil:
		return fmt.Errorf("read the answer of %s: %w", where, err)
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s", where, res.Status)
	case len(body) > maxStrategy:
		return fmt.Errorf("%s answers more than %d bytes", where, maxStrategy)
	}
	policy, err := parseStrategy(body)
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", where, err)
	}
	r.sampler.SetPolicy(policy)
	r.etag = res.Header.Get("ETag")
	return nil
}

// weighed adds to the attributes of a span that begins a trace the members of
// the baggage that the sampler has weights for. They become attributes of the
// span: they tell why it was kept.
func (p *TracerProvider) weighed(ctx context.Context, parent *core.SpanContext, attrs []core.Attr) []core.Attr {
	if p.adaptive == nil || parent.IsValid() {
		return attrs
	}
	keys := p.adaptive.WeightKeys()
	if len(keys) == 0 {
		return attrs
	}
	members := baggage.FromContext(ctx)
	if members.Len() == 0 {
		return attrs
	}
	for _, key := range keys {
		if value := members.Member(key).Value(); value != "" && p.adaptive.Weighs(key, value) && !slices.ContainsFunc(attrs, func(a core.Attr) bool { return a.Key == key }) {
			attrs = append(attrs, core.String(key, value))
		}
	}
	return attrs
}

// sampledAs is what a request is called while its route is not known: by the
// name that the sampling policy has for it, or else by its method.
func (o *Operations[K]) sampledAs(method, path string) string {
	if b := o.of(); b != nil && b.sampler != nil {
		return b.sampler.Operation(method, path)
	}
	return method
}
