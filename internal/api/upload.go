package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/semaphore"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/store"
)

// Limits of uploaded profiles.
const (
	// maxProfileBody bounds one as it is sent, compressed or not: a heap profile of
	// a large service is some megabytes.
	maxProfileBody = 32 << 20
	// maxUploads is how many come in at a time, so that those who send slowly take
	// nothing from those who ask questions.
	maxUploads = 64
	// uploadMemory bounds what came of them. A profile has no more of it than was sent,
	// and as much again.
	uploadMemory = 128 << 20
	// maxUnpacked is how many are unpacked and stored at a time: one takes some
	// hundred megabytes at worst. uploadTurn is how long another waits for its turn.
	maxUnpacked = 4
	uploadTurn  = 10 * time.Second
	// uploadChunk must come within uploadStall, and the whole within the server's readTime.
	uploadChunk = 64 << 10
	uploadStall = 10 * time.Second
)

// uploads is the profiles that are being taken in. They come into memory first, as
// slowly as their senders like, and what costs much waits until they are whole.
type uploads struct {
	memory      *semaphore.Weighted
	unpacking   *semaphore.Weighted
	turn, stall time.Duration
}

func newUploads() *uploads {
	return &uploads{memory: semaphore.NewWeighted(uploadMemory), unpacking: semaphore.NewWeighted(maxUnpacked), turn: uploadTurn, stall: uploadStall}
}

// receive reads a request's body; release gives back its memory.
func (u *uploads) receive(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	var held int64
	giveBack := func() { u.memory.Release(held) }
	defer func() {
		if err != nil {
			giveBack()
		}
	}()
	// A recorder of tests has no connection and no deadlines. After an error the last one
	// stays: the server reads on a little before it answers.
	deadline := http.NewResponseController(w).SetReadDeadline
	end := time.Now().Add(readTime)
	from := http.MaxBytesReader(w, r.Body, maxProfileBody)
	for mark := 0; ; {
		if len(body) == cap(body) {
			more := min(max(uploadChunk, cap(body)), maxProfileBody+uploadChunk-cap(body))
			if !u.memory.TryAcquire(int64(more)) {
				return nil, nil, fmt.Errorf("%d MiB of profiles are on their way: %w", uploadMemory>>20, store.ErrUnavailable)
			}
			held += int64(more)
			body = append(make([]byte, 0, cap(body)+more), body...)
		}
		if len(body) >= mark {
			mark = len(body) + uploadChunk
			next := time.Now().Add(u.stall)
			if next.After(end) {
				next = end
			}
			_ = deadline(next)
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			_ = deadline(time.Time{})
			return body, giveBack, nil
		case err != nil:
			return nil, nil, u.broken(err)
		}
	}
}

// broken says why a body did not come whole.
func (u *uploads) broken(err error) error {
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return huma.NewError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the profile has more than %d MiB; shorten it, or compress it by gzip", maxProfileBody>>20))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return huma.NewError(http.StatusRequestTimeout, fmt.Sprintf("the profile came too slowly: less than %d KiB in %v, or not whole in %v", uploadChunk>>10, u.stall, readTime))
	}
	return huma.Error400BadRequest("the profile did not come whole: " + err.Error())
}

// unpack waits for a turn to unpack and store; done ends it.
func (u *uploads) unpack(ctx context.Context) (done func(), err error) {
	wait, cancel := context.WithTimeout(ctx, u.turn)
	defer cancel()
	if u.unpacking.Acquire(wait, 1) == nil {
		return func() { u.unpacking.Release(1) }, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%d profiles have been unpacked for %v: %w", maxUnpacked, u.turn, store.ErrUnavailable)
}

// addRoute takes profiles. Its parameters are named by the sender, which
// routes of huma cannot have, so that it only describes this one.
func (d *door) addRoute() {
	document := d.api.OpenAPI()
	added := document.Components.Schemas.Schema(reflect.TypeFor[query.ProfileAdded](), true, "")
	problem := document.Components.Schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "")
	text := &huma.Schema{Type: huma.TypeString}
	o := &huma.Operation{
		OperationID: "addProfile", Method: http.MethodPost, Path: ProfilesPath, Tags: []string{"profiles"},
		Summary:     "Add a profile",
		Description: fmt.Sprintf("Keeps a profile in the format of pprof, compressed by gzip or not, at most %d MiB. It is on the disk when the answer is 200. Further parameters are attributes of the resource: `?service.name=order&service.version=1.2`.", maxProfileBody>>20),
		Parameters: []*huma.Param{
			{Name: "type", In: "query", Schema: text, Description: "What is measured. Default: guessed from the types of the profile's values.", Example: "heap"},
			{Name: "service.name", In: "query", Schema: text, Description: "The service that was measured; so any other attribute of the resource.", Example: "order"},
			{Name: "X-Scope-OrgID", In: "header", Schema: text, Description: "Whose data: ACCOUNT or ACCOUNT:PROJECT; default 0.", Example: "12:3"},
		},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			pprofType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}},
		Responses: map[string]*huma.Response{
			"200":     {Description: "OK", Content: map[string]*huma.MediaType{"application/json": {Schema: added}}},
			"default": {Description: "Error", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: problem}}},
		},
	}
	document.AddOperation(o)
	d.mux.HandleFunc("POST "+ProfilesPath, d.addProfile)
}

func (d *door) addProfile(w http.ResponseWriter, r *http.Request) {
	added, err := d.takeProfile(w, r)
	if err != nil {
		refuse(w, d.problem(r.Context(), err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(added) // a broken connection is all that can fail now
}

// refuse writes a problem as huma would.
func refuse(w http.ResponseWriter, problem error) {
	var headers huma.HeadersError
	if errors.As(problem, &headers) {
		for k, v := range headers.GetHeaders() {
			w.Header()[k] = v
		}
	}
	var m *huma.ErrorModel
	if !errors.As(problem, &m) {
		panic("BUG: a problem of another form: " + problem.Error())
	}
	writeProblem(w, m.Status, m.Detail, m.Errors...)
}

func (d *door) takeProfile(w http.ResponseWriter, r *http.Request) (*query.ProfileAdded, error) {
	p, err := d.profiler()
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity("the parameters cannot be read: " + err.Error())
	}
	kind, resource := values.Get("type"), map[string]string{}
	for k, v := range values {
		if k == "type" {
			continue
		}
		if len(v) != 1 {
			return nil, &query.FieldError{Field: k, Value: strings.Join(v, ","), Msg: "given more than once", Next: "an attribute has one value"}
		}
		resource[k] = v[0]
	}
	body, release, err := d.uploads.receive(w, r)
	if err != nil {
		return nil, err
	}
	defer release()
	done, err := d.uploads.unpack(r.Context())
	if err != nil {
		return nil, err
	}
	defer done()
	return p.Add(r.Context(), body, kind, resource)
}
