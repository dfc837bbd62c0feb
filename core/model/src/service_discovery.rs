//! How a node's instances are found.

use crate::shape::{Bounds, Form, Pattern, Shape};
use crate::structure::{enumeration, structure, union};

const CLOUD_MAP_NAME: Shape = Shape::string_of("AwsCloudMapName", 1, 1024);

const ATTRIBUTE_KEY: Shape = Shape {
    name: "AwsCloudMapInstanceAttributeKey",
    form: Form::String {
        length: Bounds::between(1, 255),
        pattern: Some(Pattern { text: "^[a-zA-Z0-9!-~]+$", matches: is_visible }),
    },
};

const ATTRIBUTE_VALUE: Shape = Shape {
    name: "AwsCloudMapInstanceAttributeValue",
    form: Form::String {
        length: Bounds::between(1, 1024),
        pattern: Some(Pattern {
            text: "^([a-zA-Z0-9!-~][  a-zA-Z0-9!-~]*){0,1}[a-zA-Z0-9!-~]{0,1}$",
            matches: is_visible_with_inner_spaces,
        }),
    },
};

union! {
    /// Where the instances of a node are looked up.
    pub enum ServiceDiscovery {
        AwsCloudMap "awsCloudMap": AwsCloudMapServiceDiscovery,
        Dns "dns": DnsServiceDiscovery,
    }
}

structure! {
    /// Instances registered with Cloud Map.
    pub struct AwsCloudMapServiceDiscovery {
        /// Only instances that carry all of these attributes are used.
        many attributes "attributes": AwsCloudMapInstanceAttribute,
        /// Which address family is used.
        optional ip_preference "ipPreference": IpPreference,
        /// The namespace's name.
        required namespace_name "namespaceName": String => &CLOUD_MAP_NAME,
        /// The service's name.
        required service_name "serviceName": String => &CLOUD_MAP_NAME,
    }
}

structure! {
    /// A custom attribute of a Cloud Map instance.
    pub struct AwsCloudMapInstanceAttribute {
        /// The attribute's key.
        required key "key": String => &ATTRIBUTE_KEY,
        /// The value that it must have.
        required value "value": String => &ATTRIBUTE_VALUE,
    }
}

structure! {
    /// Instances behind a host name.
    pub struct DnsServiceDiscovery {
        /// The host name.
        required hostname "hostname": String,
        /// Which address family is used.
        optional ip_preference "ipPreference": IpPreference,
        /// Whether the name stands for one address at a time or for all of them.
        optional response_type "responseType": DnsResponseType,
    }
}

enumeration! {
    /// What the addresses behind a host name are.
    pub enum DnsResponseType {
        /// Load balancers: connections go to one resolved address at a time and outlive its change.
        LoadBalancer "LOADBALANCER",
        /// Instances: every resolved address is one.
        Endpoints "ENDPOINTS",
    }
}

enumeration! {
    /// Which address family is used.
    pub enum IpPreference {
        Ipv6Preferred "IPv6_PREFERRED",
        Ipv4Preferred "IPv4_PREFERRED",
        Ipv4Only "IPv4_ONLY",
        Ipv6Only "IPv6_ONLY",
    }
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Visible characters, with spaces anywhere but at the start. The expression's inner class ends in an optional visible one, so a
/// trailing space is allowed.
fn is_visible_with_inner_spaces(text: &str) -> bool {
    text.is_empty()
        || (!text.starts_with(' ') && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()))
}
