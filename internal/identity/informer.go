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

// listTimeout bounds a list from the request to the last byte of the answer.
const listTimeout = 2 * time.Minute

// info is what is kept of an object, which is a small part of it.
type info interface {
	runtime.Object
	metav1.ObjectMetaAccessor
	key() objectKey // tells an info from a whole object, too
}

// objectKey tells one object of a kind from another.
type objectKey struct {
	namespace sharedString
	name      string
}

// infoMeta makes an info an object, as the reflector wants it.
type infoMeta struct{ objectKey }

func metaOf(object metav1.Object) infoMeta {
	return infoMeta{objectKey{share(object.GetNamespace()), object.GetName()}}
}

func (m *infoMeta) key() objectKey { return m.objectKey }

// GetObjectMeta is for the reflector, that asks for the name alone.
func (m *infoMeta) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: m.namespace.String(), Name: m.name}
}

// GetObjectKind is for the reflector.
func (*infoMeta) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// infoList is a list of infos, as the reflector wants it.
type infoList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

func (f *infoList) DeepCopyObject() runtime.Object { return f }

// informer lists and watches the objects of one kind. It is a reflector of client-go and the store that the reflector
// fills: other than client-go's informers it keeps an info of each object, and never the whole object. Changes come one at
// a time, in order.
type informer struct {
	resource
	fields fields.Selector
	client *rest.RESTClient
	log    *slog.Logger
	decode func([]byte) (runtime.Object, error) // an object of a list
	strip  func(runtime.Object) info            // the part of an object that is kept
	// onChange gets what was and is known of an object, nil for nothing, and of a deleted object its last state if that is
	// known.
	onChange  func(before, now info, last runtime.Object)
	onReplace func() // after a list of all objects

	store  map[objectKey]info
	synced atomic.Bool
	errors atomic.Uint64
	logged map[string]string // the error that was logged last, by verb
}

// run lists and watches until ctx ends. A request that fails is counted, logged once, and tried again with growing, random
// pauses.
func (i *informer) run(ctx context.Context) {
	i.store, i.logged = map[objectKey]info{}, map[string]string{}
	ctx = klog.NewContext(ctx, logr.Discard()) // errors pass through us: report logs them
	quiet := klog.FromContext(ctx)
	source := &cache.ListWatch{ListWithContextFunc: i.list, WatchFuncWithContext: i.watch}
	cache.NewReflectorWithOptions(source, i.object, i, cache.ReflectorOptions{
		Name: "tracer", TypeDescription: i.name, Logger: &quiet,
	}).RunWithContext(ctx)
}

// list asks for all objects at once. The reflector's options let the server answer from its cache.
func (i *informer) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	options.Limit, options.Continue = 0, "" // no pages: those would come from etcd
	stream, err := i.request(options).Stream(ctx)
	if err != nil {
		return nil, i.report(ctx, "list", err)
	}
	defer stream.Close()
	list := &infoList{}
	list.ListMeta, err = decodeList(stream, func(data []byte) error {
		object, err := i.decode(data)
		if err == nil {
			list.Items = append(list.Items, i.strip(object))
		}
		return err
	})
	if err != nil {
		return nil, i.report(ctx, "list", err)
	}
	i.recovered("list")
	return list, nil
}

func (i *informer) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	events, err := i.request(options).Watch(ctx)
	if err != nil {
		return nil, i.report(ctx, "watch", err)
	}
	i.recovered("watch")
	return events, nil
}

func (i *informer) request(options metav1.ListOptions) *rest.Request {
	if i.fields != nil {
		options.FieldSelector = i.fields.String()
	}
	return i.client.Get().Resource(i.name).VersionedParams(&options, metav1.ParameterCodec)
}

// report counts an error, and logs it unless it is the one that was logged last. A streaming list fails as a watch.
func (i *informer) report(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, io.EOF) {
		return err
	}
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err) && verb == "watch" {
		return err // the reflector lists anew; an old server refuses a streaming list as invalid
	}
	i.errors.Add(1)
	text := i.advise(verb, err)
	if text != i.logged[verb] {
		i.logged[verb] = text
		i.log.Warn("names from Kubernetes are not up to date; trying again", "resource", i.name, "err", text)
	}
	return err
}

// recovered logs that a request succeeds whose failure was logged.
func (i *informer) recovered(verb string) {
	if i.logged[verb] != "" {
		delete(i.logged, verb)
		i.log.Info("the API server answers again", "to", verb+" "+i.name)
	}
}

// advise adds to an error what to do about it.
func (i *informer) advise(verb string, err error) string {
	switch {
	case apierrors.IsForbidden(err):
		group := i.version.Group
		return fmt.Sprintf("%v; grant it with the RBAC rule {apiGroups: [%q], resources: [%s], verbs: [list, watch]}", err, group, i.name)
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
	return fmt.Sprintf("%s %s: %v; names stay as they were last known", verb, i.name, err)
}

// Transformer lets the reflector keep infos instead of whole objects while it gathers a streaming list.
func (i *informer) Transformer() cache.TransformFunc {
	return func(object any) (any, error) {
		if o, ok := object.(runtime.Object); ok {
			if _, done := o.(info); !done {
				return i.strip(o), nil
			}
		}
		return object, nil
	}
}

// Add, Update, Delete, Replace and Resync are called by the reflector, one at a time.
func (i *informer) Add(object any) error {
	f, ok := object.(info)
	if !ok {
		f = i.strip(object.(runtime.Object))
	}
	i.set(f)
	return nil
}

func (i *informer) set(f info) {
	k := f.key()
	before := i.store[k]
	i.store[k] = f
	i.onChange(before, f, nil)
}

// Update is Add: an info says all that is known.
func (i *informer) Update(object any) error { return i.Add(object) }

// Delete gets the object's last state.
func (i *informer) Delete(object any) error {
	last, ok := object.(runtime.Object)
	if !ok {
		return fmt.Errorf("a deleted %T", object)
	}
	k := i.strip(last).key()
	if before := i.store[k]; before != nil {
		delete(i.store, k)
		i.onChange(before, nil, last)
	}
	return nil
}

// Replace gets a list of all objects.
func (i *informer) Replace(list []any, _ string) error {
	now := make(map[objectKey]bool, len(list))
	for _, o := range list {
		now[o.(info).key()] = true
	}
	for k, before := range i.store {
		if !now[k] {
			delete(i.store, k)
			i.onChange(before, nil, nil)
		}
	}
	for _, o := range list {
		i.set(o.(info))
	}
	i.synced.Store(true)
	i.onReplace()
	return nil
}

// Resync is not used.
func (i *informer) Resync() error { return nil }
