// Package v1alpha1 is the resource OSUpgrade of Kubernetes, by which nodes are moved to another version of their
// operating system. manifests/crd.yaml is its schema, and says the rules that the API server holds it to.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "pawl-os.org", Version: "v1alpha1"}

// AddTo adds the types to a scheme.
func AddTo(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &OSUpgrade{}, &OSUpgradeList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// OSUpgrade moves nodes to another version. It belongs to no namespace.
type OSUpgrade struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   Spec   `json:"spec"`
	Status Status `json:"status,omitempty"`
}

// OSUpgradeList is several.
type OSUpgradeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []OSUpgrade `json:"items"`
}

// Spec is what is asked for.
type Spec struct {
	// Image is the reference of an installer image. What it resolves to is found out once, for all nodes.
	Image string `json:"image"`
	// Preserve keeps the partition EPHEMERAL.
	Preserve bool `json:"preserve,omitempty"`
	// Tries is how many boots the new version gets to prove itself; 0 is 1.
	Tries int32 `json:"tries,omitempty"`

	// NodeSelector selects the nodes; none: all of them.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// MaxUnavailable is how many of them may be unavailable, for whatever reason.
	MaxUnavailable int32 `json:"maxUnavailable,omitempty"`
	// Pools are groups of them with numbers of their own.
	Pools []Pool `json:"pools,omitempty"`
	// Waves go first, in this order; the nodes of none follow. None: one node, then the others.
	Waves []Wave `json:"waves,omitempty"`
	// Window is when nodes may be ordered; none: always.
	Window *Window `json:"window,omitempty"`

	// Paused has no node ordered any more. Those that are underway go on.
	Paused bool `json:"paused,omitempty"`
	// Retry, raised, has nodes tried again that failed.
	Retry int64 `json:"retry,omitempty"`
	// Timeout is how long a node may take before it counts as failed; none: an hour.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// Pool is a group of nodes of which no more than so many may be unavailable.
type Pool struct {
	Name           string               `json:"name"`
	NodeSelector   metav1.LabelSelector `json:"nodeSelector"`
	MaxUnavailable int32                `json:"maxUnavailable,omitempty"`
}

// Wave is a part of the nodes.
type Wave struct {
	Name string `json:"name"`
	// NodeSelector selects them; none: all.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Nodes is how many of those that are selected; 0: all.
	Nodes int32 `json:"nodes,omitempty"`
	// Soak is how long it is waited once the last of them is done.
	Soak *metav1.Duration `json:"soak,omitempty"`
}

// Window is a time of the day.
type Window struct {
	// Days are "Mon" to "Sun"; none: every day.
	Days []string `json:"days,omitempty"`
	// Start is when it opens, as "22:30".
	Start string `json:"start"`
	// Duration is how long it is open.
	Duration metav1.Duration `json:"duration"`
	// TimeZone is a name of the IANA database; none: UTC.
	TimeZone string `json:"timeZone,omitempty"`
}

// Status is how far it is. The controller has no other memory.
type Status struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Image is that of Spec which all of this is about, Digest what it resolved to, Retry that of Spec that was taken in.
	Image  string `json:"image,omitempty"`
	Digest string `json:"digest,omitempty"`
	Retry  int64  `json:"retry,omitempty"`

	// Phase is Progressing, Waiting, Paused, Stopped or Complete; Message says more.
	Phase   string `json:"phase,omitempty"`
	Message string `json:"message,omitempty"`
	// Wave is at its turn.
	Wave string `json:"wave,omitempty"`
	// Progress is "DONE/ALL"; the numbers are of nodes.
	Progress  string `json:"progress,omitempty"`
	Done      int32  `json:"done"`
	Upgrading int32  `json:"upgrading"`
	Failed    int32  `json:"failed"`

	Nodes      []NodeStatus       `json:"nodes,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NodeStatus is how far a node is.
type NodeStatus struct {
	Name string `json:"name"`
	// State is Pending, Ordered, Upgrading, Done or Failed; Message says more.
	State   string      `json:"state"`
	Since   metav1.Time `json:"since"`
	Version string      `json:"version,omitempty"`
	Wave    string      `json:"wave,omitempty"`
	Message string      `json:"message,omitempty"`

	// Target is the digest that the rest is about: PriorAttempt was the node's latest attempt before, BootID its boot
	// when the order was written down, at OrderedAt.
	Target       string       `json:"target,omitempty"`
	PriorAttempt string       `json:"priorAttempt,omitempty"`
	BootID       string       `json:"bootID,omitempty"`
	OrderedAt    *metav1.Time `json:"orderedAt,omitempty"`
}

// Conditions of an OSUpgrade.
const (
	ConditionComplete = "Complete" // all nodes run the image
	ConditionStopped  = "Stopped"  // a node failed, or what is asked for cannot be done
)
