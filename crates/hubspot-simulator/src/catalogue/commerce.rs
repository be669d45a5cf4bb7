//! What is sold and done for customers: products, quotes, orders and the rest of the standard objects.

use crate::catalogue::objects::{ObjectScopes, ObjectSpec, plain_object};
use crate::catalogue::{Flag, Row, choice, number, row, text};
use crate::portal::schema::Kind;

const fn sold(
    names: (&'static str, &'static str),
    type_id: &'static str,
    upper: &'static str,
    properties: &'static [Row],
) -> ObjectSpec {
    ObjectSpec {
        scopes: ObjectScopes::Commerce(names.0),
        ..plain_object(names, type_id, upper, properties)
    }
}

pub(crate) const PRODUCTS: ObjectSpec = ObjectSpec {
    created: "createdate",
    defaults: &["createdate", "hs_lastmodifieddate", "hs_object_id", "name"],
    needs: &[&["name"]],
    has_classic_events: true,
    ..sold(
        ("products", "product"),
        "0-7",
        "PRODUCT",
        &[
            text("name"),
            row("description", Kind::String, "textarea", Flag::Plain),
            number("price"),
            text("hs_sku"),
            number("hs_cost_of_goods_sold"),
        ],
    )
};

pub(crate) const LINE_ITEMS: ObjectSpec = ObjectSpec {
    created: "createdate",
    defaults: &[
        "createdate",
        "hs_lastmodifieddate",
        "hs_object_id",
        "name",
        "quantity",
    ],
    has_classic_events: true,
    ..sold(
        ("line_items", "line_item"),
        "0-8",
        "LINE_ITEM",
        &[
            text("name"),
            number("quantity"),
            number("price"),
            row("amount", Kind::Number, "number", Flag::Calculated),
            text("hs_sku"),
            row(
                "hs_product_id",
                Kind::Number,
                "number",
                Flag::Refers("PRODUCT"),
            ),
        ],
    )
};

pub(crate) const QUOTES: ObjectSpec = ObjectSpec {
    needs: &[&["hs_title"], &["hs_expiration_date"]],
    ..sold(
        ("quotes", "quote"),
        "0-14",
        "QUOTE",
        &[
            text("hs_title"),
            row("hs_expiration_date", Kind::Datetime, "date", Flag::Plain),
            choice(
                "hs_status",
                Flag::Plain,
                &["DRAFT", "APPROVAL_NOT_NEEDED", "PENDING_APPROVAL"],
            ),
            number("hs_quote_amount"),
        ],
    )
};

/// The objects of which nothing but a name and a number matters here.
pub(crate) const OTHERS: [ObjectSpec; 13] = [
    sold(
        ("orders", "order"),
        "0-123",
        "ORDER",
        &[
            text("hs_order_name"),
            number("hs_total_price"),
            text("hs_currency_code"),
        ],
    ),
    sold(
        ("carts", "cart"),
        "0-142",
        "CART",
        &[text("hs_cart_name"), number("hs_total_price")],
    ),
    sold(
        ("invoices", "invoice"),
        "0-53",
        "INVOICE",
        &[
            text("hs_title"),
            text("hs_number"),
            number("hs_amount_billed"),
        ],
    ),
    sold(
        ("subscriptions", "subscription"),
        "0-69",
        "SUBSCRIPTION",
        &[
            text("hs_name"),
            text("hs_status"),
            number("hs_next_payment_amount"),
        ],
    ),
    sold(
        ("commerce_payments", "commerce_payment"),
        "0-101",
        "COMMERCE_PAYMENT",
        &[text("hs_customer_email"), number("hs_initial_amount")],
    ),
    plain_object(
        ("services", "service"),
        "0-162",
        "SERVICE",
        &[text("hs_name"), number("hs_amount_paid")],
    ),
    plain_object(
        ("appointments", "appointment"),
        "0-421",
        "APPOINTMENT",
        &[
            text("hs_appointment_name"),
            row("hs_appointment_start", Kind::Datetime, "date", Flag::Plain),
        ],
    ),
    plain_object(
        ("listings", "listing"),
        "0-420",
        "LISTING",
        &[text("hs_name"), number("hs_price")],
    ),
    plain_object(
        ("courses", "course"),
        "0-410",
        "COURSE",
        &[text("hs_course_name"), text("hs_course_id")],
    ),
    plain_object(
        ("projects", "project"),
        "0-970",
        "PROJECT",
        &[text("hs_name"), text("hs_description")],
    ),
    plain_object(
        ("goal_targets", "goal_target"),
        "0-74",
        "GOAL_TARGET",
        &[text("hs_goal_name"), number("hs_target_amount")],
    ),
    plain_object(
        ("feedback_submissions", "feedback_submission"),
        "0-19",
        "FEEDBACK_SUBMISSION",
        &[text("hs_survey_name"), number("hs_value")],
    ),
    plain_object(
        ("marketing_events", "marketing_event"),
        "0-54",
        "MARKETING_EVENT",
        &[
            text("hs_event_name"),
            row("hs_start_datetime", Kind::Datetime, "date", Flag::Plain),
        ],
    ),
];
