package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/guanlan-io/guanlan/internal/query"
	"github.com/guanlan-io/guanlan/internal/sampling"
	"github.com/guanlan-io/guanlan/internal/semconv"
	"github.com/guanlan-io/guanlan/internal/state"
	"github.com/guanlan-io/guanlan/internal/store"
)

// Policies keep the sampling policies of tenants; state.Policies does.
type Policies interface {
	List(tenant string) sampling.Set
	Put(tenant string, r sampling.Rule) error
	Delete(tenant, service, environment string) (found bool, err error)
}

// PolicyList is all sampling policies of a tenant.
type PolicyList struct {
	Policies []sampling.Rule `json:"policies" nullable:"false" doc:"By service and environment. For a service its own policy holds before the default one, and among these the one for its environment before the one for all."`
}

// PolicyPlace is where a policy holds.
type PolicyPlace struct {
	Tenant
	Service     string `path:"service" doc:"service.name, or default for all services without a policy of their own." example:"order"`
	Environment string `query:"environment" maxLength:"256" doc:"deployment.environment.name; empty: the policy for every environment." example:"production"`
}

type putPolicyInput struct {
	PolicyPlace
	ContentType string `header:"Content-Type" hidden:"true"`
	// RawBody is read by sampling.Decode, which says more than a schema does;
	// the document has the schema.
	RawBody []byte `contentType:"application/json"`
}

const policyPath = "/sampling/policies/{service}"

func (d *door) policyRoutes() {
	get(d, op{"listSamplingPolicies", "/sampling/policies", "sampling", "List sampling policies", "All sampling policies of the tenant."},
		func(ctx context.Context, _ *struct{ Tenant }) (*PolicyList, error) {
			rules, err := d.policies()
			if err != nil {
				return nil, err
			}
			return &PolicyList{Policies: append([]sampling.Rule{}, rules.List(tenantName(ctx))...)}, nil
		})
	get(d, op{"getSamplingPolicy", policyPath, "sampling", "Show a sampling policy", "The policy that was set for exactly this service and environment."},
		func(ctx context.Context, in *PolicyPlace) (*sampling.Rule, error) {
			rules, err := d.policies()
			if err != nil {
				return nil, err
			}
			r, ok := rules.List(tenantName(ctx)).Get(in.Service, in.Environment)
			if !ok {
				return nil, in.notFound()
			}
			return &r, nil
		})
	change := func(id, method, summary, doc string) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: Prefix + policyPath, Tags: []string{"sampling"}, Summary: summary, Description: doc,
			Errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable}}
	}
	put := change("putSamplingPolicy", http.MethodPut, "Set a sampling policy",
		"Replaces the policy of a service and environment. Services that ask have it at their next question. After an error, what held before holds on.")
	put.Errors = append(put.Errors, http.StatusConflict, http.StatusUnsupportedMediaType)
	put.MaxBodyBytes = sampling.MaxBody
	put.SkipValidateBody = true
	huma.Register(d.api, put, func(ctx context.Context, in *putPolicyInput) (*result[sampling.Rule], error) {
		rules, err := d.policies()
		if err != nil {
			return nil, err
		}
		// No form of a foreign page can have this content type, even in
		// browsers that do not tell where a request comes from.
		if t, _, err := mime.ParseMediaType(in.ContentType); err != nil || t != "application/json" {
			return nil, huma.NewError(http.StatusUnsupportedMediaType, fmt.Sprintf("content type %q: want application/json", in.ContentType))
		}
		p, err := sampling.Decode(in.RawBody)
		if err != nil {
			return nil, d.policyProblem(ctx, err)
		}
		r := sampling.Rule{Service: in.Service, Environment: in.Environment, Policy: p, Updated: d.now().UTC().Truncate(time.Millisecond)}
		if err := rules.Put(tenantName(ctx), r); err != nil {
			return nil, d.policyProblem(ctx, err)
		}
		d.log.InfoContext(ctx, "set a sampling policy", "tenant", tenantName(ctx), "service", r.Service, "environment", r.Environment)
		return &result[sampling.Rule]{Body: &r}, nil
	})
	document := d.api.OpenAPI()
	document.Paths[put.Path].Put.RequestBody.Content["application/json"].Schema =
		document.Components.Schemas.Schema(reflect.TypeFor[sampling.Policy](), true, "Policy")
	remove := change("deleteSamplingPolicy", http.MethodDelete, "Delete a sampling policy",
		"The less specific policy holds from then on, or the SDK's defaults.")
	remove.DefaultStatus = http.StatusNoContent
	huma.Register(d.api, remove, func(ctx context.Context, in *PolicyPlace) (*struct{}, error) {
		rules, err := d.policies()
		if err != nil {
			return nil, err
		}
		found, err := rules.Delete(tenantName(ctx), in.Service, in.Environment)
		switch {
		case err != nil:
			return nil, d.policyProblem(ctx, err)
		case !found:
			return nil, in.notFound()
		}
		d.log.InfoContext(ctx, "delete a sampling policy", "tenant", tenantName(ctx), "service", in.Service, "environment", in.Environment)
		return nil, nil
	})
}

func (d *door) policies() (Policies, error) {
	if d.rules == nil {
		return nil, huma.Error404NotFound("this process keeps no sampling policies")
	}
	return d.rules, nil
}

func (in *PolicyPlace) notFound() error {
	where := "for every environment"
	if in.Environment != "" {
		where = "for environment " + in.Environment
	}
	return huma.Error404NotFound(fmt.Sprintf("no sampling policy of %s %s: %v", in.Service, where, store.ErrNotFound))
}

// policyProblem is problem for changes.
func (d *door) policyProblem(ctx context.Context, err error) error {
	var invalid sampling.Invalid
	switch {
	case errors.As(err, &invalid):
		details := make([]error, len(invalid))
		for i, f := range invalid {
			location := "body." + f.Field
			switch f.Field {
			case "":
				location = "body"
			case "service":
				location = "path.service"
			case "environment":
				location = "query.environment"
			}
			details[i] = &huma.ErrorDetail{Location: location, Message: f.Msg, Value: f.Value}
		}
		return huma.Error422UnprocessableEntity("the sampling policy cannot be as it is; nothing is changed", details...)
	case errors.Is(err, state.ErrFull):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, state.ErrNotSaved):
		d.log.ErrorContext(ctx, "change a sampling policy", "error", err)
		return huma.Error503ServiceUnavailable(err.Error() + "; what held before holds on")
	}
	return d.problem(ctx, err)
}

// tenantName is the tenant as policies are kept by.
func tenantName(ctx context.Context) string { return query.TenantOf(ctx).String() }

// NewSampling answers clients of Jaeger's remote sampling protocol: GET with the
// parameter service. With deployment.environment.name it is the policy for that
// environment; with policy=full the answer has the whole policy as the member
// guanlan, besides what clients of Jaeger know.
func NewSampling(policies Policies) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeProblem(w, http.StatusMethodNotAllowed, "this path only tells; policies are set at "+Prefix+"/sampling/policies")
			return
		}
		q := r.URL.Query()
		services, environment := q["service"], q.Get(semconv.DeploymentEnvironmentName)
		if len(services) != 1 || services[0] == "" {
			writeProblem(w, http.StatusBadRequest, "want the parameter service, once: /sampling?service=order")
			return
		}
		rule, _ := policies.List(tenantName(r.Context())).Match(services[0], environment)
		s := rule.Policy.Strategy()
		if q.Get("policy") == "full" {
			s.Guanlan = &rule.Policy
		}
		text, err := json.Marshal(s)
		if err != nil {
			panic("BUG: a valid policy has no JSON: " + err.Error())
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(text)))
		h.Set("Cache-Control", "no-cache") // ask each time whether it changed
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(append(text, '\n')))
	})
}
