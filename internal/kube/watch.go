package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// page bounds one answer when the list may not come from the server's cache.
	page = 500
	// watchFor is how long one watch lasts, and as much again at random, so that
	// agents do not come all at once. watchGrace is what the server may be late.
	watchFor, watchGrace = 5 * time.Minute, 30 * time.Second
	// listFor bounds a list with all its pages: 1.5 GB of 300,000 pods over a slow link.
	listFor = 10 * time.Minute
	// maxRefusal bounds what is read of an error's text.
	maxRefusal = 4 << 10
	// maxObject bounds one object: etcd takes 1.5 MB, which JSON makes longer.
	maxObject = 16 << 20
)

// errGone means that the server has forgotten the version that changes were asked
// from: all must be listed again.
var errGone = errors.New("the version is gone")

// kind is one kind of objects.
type kind struct {
	name, path string
	query      string // field selector
	// read turns an object into what is kept of it; nil for one that has nothing to tell.
	read func(*object) *entry
}

// resource is the kind and its group, as in endpointslices.discovery.k8s.io.
func (k *kind) resource() string {
	if group, ok := strings.CutPrefix(k.path, "/apis/"); ok {
		group, _, _ = strings.Cut(group, "/")
		return k.name + "." + group
	}
	return k.name
}

// run lists and watches until ctx ends.
func (c *Cluster) run(ctx context.Context, k *kind) {
	version, fresh := "", false
	for failed := 0; ctx.Err() == nil; {
		began := time.Now()
		var err error
		if version == "" {
			version, err = c.list(ctx, k, fresh)
		} else {
			version, err = c.watch(ctx, k, version)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failed = 0
			c.note(k, nil)
			continue
		case errors.Is(err, errGone) && version != "":
			// The server's cache may be behind what it has just forgotten.
			version, fresh = "", true
		default:
			c.note(k, err)
		}
		if time.Since(began) > pauseMost { // it had worked: balancers cut what is long
			failed = 0
		}
		failed++
		c.pace.pause(ctx, failed)
	}
}

// pause waits longer from try to try, and not as long as others.
func pause(ctx context.Context, failed int) {
	d := pauseFirst << min(failed-1, 20)
	if d > pauseMost || d <= 0 {
		d = pauseMost
	}
	select {
	case <-ctx.Done():
	case <-time.After(d/2 + rand.N(d)):
	}
}

// list reads all there are, and forgets those that are no more. Unless fresh, what
// the server has in its cache will do.
func (c *Cluster) list(ctx context.Context, k *kind, fresh bool) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, listFor)
	defer cancel()
	round := c.index.begin()
	for next, whole := "", false; ; {
		q := url.Values{}
		switch {
		case !fresh:
			q.Set("resourceVersion", "0")
		case !whole:
			q.Set("limit", strconv.Itoa(page))
		}
		if next != "" {
			q.Set("continue", next)
			q.Del("resourceVersion")
		}
		var head struct{ ResourceVersion, Continue string }
		err := c.get(ctx, k, "list", q, func(body *bounded) error {
			return readList(body, &head, func(o *object) { c.put(k, o, round) })
		})
		if errors.Is(err, errGone) && next != "" && !whole {
			// The server has forgotten the first page's version before the last one was
			// asked for. It would do so again.
			next, whole = "", true
			continue
		}
		if err != nil {
			return "", fmt.Errorf("list: %w", err)
		}
		if next = head.Continue; next == "" {
			if head.ResourceVersion == "" {
				return "", errors.New("list: the answer has no version")
			}
			c.index.end(k.name, round)
			return head.ResourceVersion, nil
		}
	}
}

// readList reads a list object by object: all at once would be a gigabyte for the
// pods of a large cluster.
func readList(r *bounded, head any, each func(*object)) error {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("read list: %w", cmp.Or(err, errors.New("not an object")))
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fmt.Errorf("read list: %w", err)
		}
		switch key {
		case "metadata":
			err = d.Decode(head)
		case "items":
			err = readItems(d, func(o *object) {
				r.next()
				each(o)
			})
		default:
			var skipped json.RawMessage
			err = d.Decode(&skipped)
		}
		if err != nil {
			return fmt.Errorf("read list: %w", err)
		}
	}
	if _, err := d.Token(); err != nil { // a list that breaks off is none
		return fmt.Errorf("read list: %w", err)
	}
	return nil
}

func readItems(d *json.Decoder, each func(*object)) error {
	t, err := d.Token()
	if err != nil || t == nil { // null: no items
		return err
	}
	if t != json.Delim('[') {
		return errors.New("items are not a list")
	}
	for d.More() {
		var o object
		if err := d.Decode(&o); err != nil {
			return err
		}
		each(&o)
	}
	_, err = d.Token()
	return err
}

// watch takes changes since version until the server ends the watch, and returns
// the version to go on from, also with an error.
func (c *Cluster) watch(ctx context.Context, k *kind, version string) (string, error) {
	last := c.pace.watch + rand.N(c.pace.watch)
	ctx, cancel := context.WithTimeout(ctx, last+watchGrace)
	defer cancel()
	q := url.Values{"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {version},
		"timeoutSeconds": {strconv.Itoa(int(last / time.Second))}}
	began := time.Now()
	err := c.get(ctx, k, "watch", q, func(body *bounded) error {
		c.note(k, nil)
		for d := json.NewDecoder(body); ; body.next() {
			var e struct {
				Type   string
				Object object
			}
			if err := d.Decode(&e); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("read change: %w", cause(err))
			}
			switch e.Type {
			case "ADDED", "MODIFIED":
				c.put(k, &e.Object, c.index.now())
			case "DELETED":
				c.index.remove(k.name, e.Object.Metadata.UID)
			case "BOOKMARK":
			case "ERROR":
				if e.Object.Code == http.StatusGone {
					return errGone
				}
				return fmt.Errorf("the server ends the watch: %s (%d)", e.Object.Message, e.Object.Code)
			default:
				continue
			}
			if v := e.Object.Metadata.ResourceVersion; v != "" {
				version = v
			}
		}
	})
	if err == nil && time.Since(began) < time.Second {
		err = errors.New("the server ended it at once") // or this would be a loop without pause
	}
	if err != nil {
		return version, fmt.Errorf("watch: %w", err)
	}
	return version, nil
}

func (c *Cluster) put(k *kind, o *object, round uint32) {
	if o.Metadata.UID == "" {
		return
	}
	if !c.index.put(k.name, o.Metadata.UID, k.read(o), round) {
		c.note(k, fmt.Errorf("more than %d objects: the rest have no names", maxEntries))
	}
}

// get asks and hands over the body of the answer.
func (c *Cluster) get(ctx context.Context, k *kind, verb string, q url.Values, read func(*bounded) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(k, q), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.base.Host, cause(err))
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return read(&bounded{resp.Body, maxObject})
	case http.StatusGone:
		return errGone
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	var status struct{ Message string }
	if json.Unmarshal(text, &status) != nil || status.Message == "" {
		status.Message = string(text)
	}
	if resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized {
		return &Refusal{Code: resp.StatusCode, Verb: verb, Resource: k.resource(), Message: status.Message}
	}
	return fmt.Errorf("the server answers %s: %s", resp.Status, status.Message)
}

// cause is an error without what is another at each try, query and own port, so that one
// cause is told once.
func cause(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if e := (*net.OpError)(nil); errors.As(err, &e) && e.Source != nil {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

// Refusal is the server's answer to who may not ask.
type Refusal struct {
	Code     int    // http.StatusUnauthorized: who asks is not known; http.StatusForbidden: it may not
	Verb     string // list or watch
	Resource string // and its group, as in endpointslices.discovery.k8s.io
	Message  string // the server's words
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("the server answers %d %s: %s", r.Code, http.StatusText(r.Code), r.Message)
	if r.Code == http.StatusForbidden {
		text += "; allow " + r.Verb + " of " + r.Resource + " in all namespaces"
	}
	return text
}

// Missing is what it would take.
func (r *Refusal) Missing() string {
	if r.Code == http.StatusForbidden {
		return "leave to " + r.Verb + " " + r.Resource
	}
	return "credentials that the cluster takes"
}

// Next says what to do about it, and about others of the same code.
func (r *Refusal) Next() string {
	if r.Code == http.StatusForbidden {
		return "allow list and watch of pods, services and endpointslices.discovery.k8s.io in all namespaces"
	}
	return "give others: these have expired, or are another cluster's"
}

// Refusals are those in an error of Err.
func Refusals(err error) (all []*Refusal) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range several.Unwrap() {
			all = append(all, Refusals(err)...)
		}
		return all
	}
	if r := (*Refusal)(nil); errors.As(err, &r) {
		all = append(all, r)
	}
	return all
}

// bounded ends with an error when what is one object does not end. It may be read
// ahead of it by as much as a decoder buffers.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) next() { b.left = maxObject }

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("an object of more than %d MB", maxObject>>20)
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}
