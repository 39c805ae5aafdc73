package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// listWithin bounds a list from its first to its last byte.
const listWithin = 2 * time.Minute

// fact is what is kept of an object. The name in its metadata is its key.
type fact interface {
	runtime.Object
	metav1.ObjectMetaAccessor
	stripped() // tells a fact from an object, which has all else too
}

// bare gives a fact what makes it an object to the reflector.
type bare struct{ metav1.ObjectMeta }

func (bare) stripped() {}

func (bare) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// facts is a list of them.
type facts struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

func (f *facts) DeepCopyObject() runtime.Object { return f }

// watcher keeps up with one kind of object. All that happens to those objects comes in order.
type watcher struct {
	resource
	fields fields.Selector
	client *rest.RESTClient
	log    *slog.Logger
	decode func([]byte) (runtime.Object, error) // an object of a list
	strip  func(runtime.Object) fact
	// changed is told what is known of an object before and now: nil for nothing. One that is gone may come with its
	// last state.
	changed  func(before, now fact, last runtime.Object)
	replaced func()

	known  map[string]fact
	synced atomic.Bool
	errors atomic.Uint64
	told   map[string]string // the error logged last, by verb
}

// run watches until ctx ends. What fails is logged once, counted, and tried again with growing, random pauses.
func (w *watcher) run(ctx context.Context) {
	w.known, w.told = map[string]fact{}, map[string]string{}
	ctx = klog.NewContext(ctx, logr.Discard()) // errors pass through us: report logs them
	quiet := klog.FromContext(ctx)
	source := &cache.ListWatch{ListWithContextFunc: w.list, WatchFuncWithContext: w.watch}
	cache.NewReflectorWithOptions(source, w.object, w, cache.ReflectorOptions{
		Name: "tracer", TypeDescription: w.name, Logger: &quiet,
	}).RunWithContext(ctx)
}

// list asks for all at once. The reflector wants what the server has in its cache.
func (w *watcher) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	options.Limit, options.Continue = 0, "" // in one go: pages would come from etcd
	stream, err := w.request(options).Stream(ctx)
	if err != nil {
		return nil, w.report(ctx, "list", err)
	}
	defer stream.Close()
	list := &facts{}
	list.ListMeta, err = decodeList(stream, func(data []byte) error {
		object, err := w.decode(data)
		if err == nil {
			list.Items = append(list.Items, w.strip(object))
		}
		return err
	})
	if err != nil {
		return nil, w.report(ctx, "list", err)
	}
	w.recovered("list")
	return list, nil
}

func (w *watcher) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	i, err := w.request(options).Watch(ctx)
	if err != nil {
		return nil, w.report(ctx, "watch", err)
	}
	w.recovered("watch")
	return i, nil
}

func (w *watcher) request(options metav1.ListOptions) *rest.Request {
	if w.fields != nil {
		options.FieldSelector = w.fields.String()
	}
	return w.client.Get().Resource(w.name).VersionedParams(&options, metav1.ParameterCodec)
}

// report counts an error, and logs it unless it is the one logged before; a streaming list fails as a watch.
func (w *watcher) report(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, io.EOF) {
		return err
	}
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err) && verb == "watch" {
		return err // the reflector lists anew; an old server refuses a streaming list as invalid
	}
	w.errors.Add(1)
	text := w.advise(verb, err)
	if text != w.told[verb] {
		w.told[verb] = text
		w.log.Warn("names of "+w.name+" are not up to date; trying again", "err", text)
	}
	return err
}

// recovered logs that a request succeeds of which it was logged that it failed.
func (w *watcher) recovered(verb string) {
	if w.told[verb] != "" {
		delete(w.told, verb)
		w.log.Info("the API server answers again", "to", verb+" "+w.name)
	}
}

// advise says what to do about an error.
func (w *watcher) advise(verb string, err error) string {
	switch {
	case apierrors.IsForbidden(err):
		group := w.version.Group
		return fmt.Sprintf("%v; grant it with the RBAC rule {apiGroups: [%q], resources: [%s], verbs: [list, watch]}", err, group, w.name)
	case apierrors.IsUnauthorized(err):
		return fmt.Sprintf("%v; the API server does not know the token or certificate: renew the kubeconfig or the service account", err)
	case apierrors.IsTooManyRequests(err):
		return fmt.Sprintf("%v; the API server is busy", err)
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("%v; is the server of the kubeconfig a Kubernetes API server?", err)
	}
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && status.ErrStatus.Code >= http.StatusInternalServerError {
		return fmt.Sprintf("%v; the API server is in trouble", err)
	}
	return fmt.Sprintf("%s %s: %v; names stay as they were last known", verb, w.name, err)
}

// Transformer lets the reflector keep nothing but facts while it gathers a streaming list.
func (w *watcher) Transformer() cache.TransformFunc {
	return func(object any) (any, error) {
		if o, ok := object.(runtime.Object); ok {
			if _, done := o.(fact); !done {
				return w.strip(o), nil
			}
		}
		return object, nil
	}
}

// Add, Update, Delete, Replace and Resync are called by the reflector, one at a time.
func (w *watcher) Add(object any) error {
	f, ok := object.(fact)
	if !ok {
		f = w.strip(object.(runtime.Object))
	}
	w.set(f)
	return nil
}

func (w *watcher) set(f fact) {
	k := key(f)
	before := w.known[k]
	w.known[k] = f
	w.changed(before, f, nil)
}

// Update is Add: a fact says all that is known.
func (w *watcher) Update(object any) error { return w.Add(object) }

// Delete is told the object's last state.
func (w *watcher) Delete(object any) error {
	last, ok := object.(runtime.Object)
	if !ok {
		return fmt.Errorf("a deleted %T", object)
	}
	k := key(w.strip(last))
	if before := w.known[k]; before != nil {
		delete(w.known, k)
		w.changed(before, nil, last)
	}
	return nil
}

// Replace is told all there is.
func (w *watcher) Replace(list []any, _ string) error {
	now := make(map[string]bool, len(list))
	for _, o := range list {
		now[key(o.(fact))] = true
	}
	for k, before := range w.known {
		if !now[k] {
			delete(w.known, k)
			w.changed(before, nil, nil)
		}
	}
	for _, o := range list {
		w.set(o.(fact))
	}
	w.synced.Store(true)
	w.replaced()
	return nil
}

// Resync is not used.
func (w *watcher) Resync() error { return nil }

func key(f fact) string {
	m := f.GetObjectMeta()
	return m.GetNamespace() + "/" + m.GetName()
}
