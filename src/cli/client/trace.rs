//! What -d prints: a line a packet, as libmosquitto words it.

use crate::cli::put;
use crate::mqtt::{Delivery, Packet, PacketId, Publish};

/// Prints the packet, if there is a client to name. `way` is "sending" or "received".
pub(super) fn line(client: Option<&str>, way: &str, packet: &Packet<'_>) {
    if let Some(client) = client {
        let client = if client.is_empty() { "(null)" } else { client };
        // Where it can't be printed the work goes on.
        let _ = put(&format!("Client {client} {way} {}\n", text(packet)));
    }
}

fn text(packet: &Packet<'_>) -> String {
    let name = packet.name();
    match packet {
        Packet::ConnAck(ack) => format!("{name} ({})", ack.reason.0),
        Packet::Publish(publish) => format!("{name} {}", publish_text(publish)),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            format!("{name} (Mid: {}, RC:{})", ack.id.get(), ack.reason.0)
        }
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter();
            let filters = filters.map(|f| format!("Topic: {}, QoS: {}", f.filter, f.qos as u8));
            let filters: Vec<String> = filters.collect();
            format!(
                "{name} (Mid: {}, {})",
                subscribe.id.get(),
                filters.join(", ")
            )
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.filters.join(", ");
            format!("{name} (Mid: {}, Topic: {filters})", unsubscribe.id.get())
        }
        Packet::Disconnect(disconnect) if disconnect.reason.is_error() => {
            format!("{name} ({})", disconnect.reason)
        }
        _ => name.to_owned(),
    }
}

fn publish_text(publish: &Publish<'_>) -> String {
    let dup = match publish.delivery {
        Delivery::AtMostOnce => false,
        Delivery::AtLeastOnce(_, dup) | Delivery::ExactlyOnce(_, dup) => dup,
    };
    format!(
        "(d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
        u8::from(dup),
        publish.delivery.qos() as u8,
        u8::from(publish.retain),
        publish.delivery.id().map_or(0, PacketId::get),
        publish.topic,
        publish.payload.len()
    )
}
